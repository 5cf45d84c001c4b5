// Single steps by ggml's operations, called as llama.cpp's graphs call them (src/llama-graph.cpp, src/models/llama.cpp,
// tools/mtmd/clip.cpp), float32 on the CPU. ggml's dimensions come fastest first.
#pragma once

#include "ggml-alloc.h"
#include "ggml-backend.h"
#include "ggml-cpu.h"
#include "ggml.h"

#include <nlohmann/json.hpp>

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

struct StepGraph {
    ggml_context * ctx;
    ggml_backend_t backend = ggml_backend_cpu_init();
    std::vector<std::pair<ggml_tensor *, std::vector<uint8_t>>> inputs;

    StepGraph() : ctx(ggml_init({ggml_tensor_overhead() * 4096 + ggml_graph_overhead(), nullptr, true})) {
        ggml_backend_cpu_set_n_threads(backend, 2);
    }
    ~StepGraph() { ggml_free(ctx), ggml_backend_free(backend); }

    template <typename T> ggml_tensor * input(ggml_type type, std::vector<int64_t> ne, const std::vector<T> & values) {
        ggml_tensor * t = ggml_new_tensor(ctx, type, ne.size(), ne.data());
        ggml_set_input(t);
        auto * bytes = (const uint8_t *) values.data();
        inputs.push_back({t, {bytes, bytes + values.size() * sizeof(T)}});
        return t;
    }

    std::vector<float> compute(ggml_tensor * output) {
        output = ggml_cont(ctx, output);
        ggml_set_output(output);
        ggml_cgraph * graph = ggml_new_graph(ctx);
        ggml_build_forward_expand(graph, output);
        ggml_gallocr_t memory = ggml_gallocr_new(ggml_backend_get_default_buffer_type(backend));
        ggml_gallocr_alloc_graph(memory, graph);
        for (auto & [tensor, bytes] : inputs)
            if (tensor->buffer) ggml_backend_tensor_set(tensor, bytes.data(), 0, bytes.size());
        ggml_backend_graph_compute(backend, graph);
        std::vector<float> values(ggml_nelements(output));
        ggml_backend_tensor_get(output, values.data(), 0, values.size() * sizeof(float));
        ggml_gallocr_free(memory);
        return values;
    }
};

// stage, parameters: of the question; tensor(name): its values; shape(name): slowest first. The output, row-major.
template <typename Json>
std::vector<float> step(const std::string & stage, const Json & p, std::function<std::vector<float>(const std::string &)> values,
                        std::function<std::vector<int64_t>(const std::string &)> shape) {
    StepGraph g;
    auto * ctx = g.ctx;
    auto tensor = [&](const std::string & name) {
        auto ne = shape(name);
        return g.input(GGML_TYPE_F32, std::vector<int64_t>(ne.rbegin(), ne.rend()), values(name));
    };
    auto positions = [&](const std::vector<int32_t> & at) { return g.input(GGML_TYPE_I32, {(int64_t) at.size()}, at); };
    auto heads = [&](ggml_tensor * x, int64_t n) { return ggml_reshape_3d(ctx, x, x->ne[0] / n, n, x->ne[1]); };
    auto norm = [&](ggml_tensor * x, const char * weight) { return ggml_mul(ctx, ggml_rms_norm(ctx, x, p.at("eps")), tensor(weight)); };
    auto rope = [&](ggml_tensor * x, ggml_tensor * at, int n, float theta, float scale) {
        return ggml_rope_ext(ctx, x, at, nullptr, n, GGML_ROPE_TYPE_NORMAL, 0, theta, scale, 0.0f, 1.0f, 0.0f, 0.0f);
    };

    if (stage == "rms_norm") return g.compute(norm(tensor("x"), "norm.weight"));
    if (stage == "silu_product") return g.compute(ggml_swiglu_split(ctx, tensor("gate"), tensor("up")));
    if (stage == "gelu") return g.compute(ggml_gelu(ctx, tensor("x")));
    if (stage == "head") return g.compute(ggml_mul_mat(ctx, tensor("output.weight"), norm(tensor("x"), "norm.weight")));
    if (stage == "adapter") {
        auto * x = ggml_mul_mat(ctx, tensor("w_in.weight"), tensor("x"));
        if (p.at("bias")) x = ggml_add(ctx, x, tensor("w_in.bias"));
        x = ggml_mul_mat(ctx, tensor("w_out.weight"), ggml_gelu(ctx, x));
        if (p.at("bias")) x = ggml_add(ctx, x, tensor("w_out.bias"));
        return g.compute(x);
    }
    if (stage == "rotary") {
        auto * at = positions(p.at("positions").template get<std::vector<int32_t>>());
        return g.compute(rope(heads(tensor("x"), p.at("heads")), at, p.at("head_dim"), p.at("theta"), 1.0f));
    }
    if (stage == "rotary_2d") {
        std::vector<int32_t> rows, columns;
        for (const auto & grid : p.at("grids"))
            for (int r = 0; r < grid.at("rows"); r++)
                for (int c = 0; c < grid.at("columns"); c++) rows.push_back(r), columns.push_back(c);
        int d = p.at("head_dim");
        float theta = p.at("theta");
        auto * x = rope(heads(tensor("x"), p.at("heads")), positions(rows), d / 2, theta, 1.0f);
        x = rope(x, positions(columns), d / 2, theta, std::pow(theta, (float) -2 / d));
        return g.compute(ggml_rope_set_offset(x, d / 2));
    }
    if (stage == "patch_conv") {
        auto weight = shape("patch_conv.weight");
        std::vector<float> all;
        for (int n = 0;; n++) {
            std::string name = "image" + std::to_string(n);
            if (shape(name).empty()) return all;
            StepGraph one;
            auto image = shape(name);
            auto * w = one.input(GGML_TYPE_F32, {weight[3], weight[2], weight[1], weight[0]}, values("patch_conv.weight"));
            auto * x = one.input(GGML_TYPE_F32, {image[2], image[1], image[0], 1}, values(name));
            int size = p.at("patch_size");
            x = ggml_conv_2d(one.ctx, w, x, size, size, 0, 0, 1, 1);
            x = ggml_reshape_3d(one.ctx, x, x->ne[0] * x->ne[1], weight[0], 1);
            auto rows = one.compute(ggml_cont(one.ctx, ggml_transpose(one.ctx, x)));
            all.insert(all.end(), rows.begin(), rows.end());
        }
    }
    if (stage == "attention") {
        int64_t d = p.at("head_dim"), n = shape("q")[0], m = shape("k")[0];
        std::vector<int> segment;
        for (int length : p.at("segments").template get<std::vector<int>>()) segment.insert(segment.end(), length, segment.empty() ? 0 : segment.back() + 1);
        std::vector<float> mask(n * m);
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < m; j++) {
                int64_t at = m - n + i;
                bool seen = segment.at(at) == segment.at(j) && (!p.at("causal").template get<bool>() || j <= at);
                mask[i * m + j] = seen ? 0.0f : -std::numeric_limits<float>::infinity();
            }
        auto * q = ggml_permute(ctx, heads(tensor("q"), p.at("heads")), 0, 2, 1, 3);
        auto * k = ggml_permute(ctx, heads(tensor("k"), p.at("kv_heads")), 0, 2, 1, 3);
        auto * v = ggml_cont(ctx, ggml_permute(ctx, heads(tensor("v"), p.at("kv_heads")), 1, 2, 0, 3));
        auto * scores = ggml_mul_mat(ctx, k, q);
        ggml_prec_set_acc(scores, GGML_PREC_F32);
        auto * weights = ggml_soft_max_ext(ctx, scores, g.input(GGML_TYPE_F32, {m, n}, mask), 1.0f / std::sqrt((float) d), 0.0f);
        return g.compute(ggml_permute(ctx, ggml_mul_mat(ctx, v, weights), 0, 2, 1, 3));
    }
    throw std::invalid_argument("llama.cpp runs this step in a whole graph only");
}
