// Runs llama.cpp for session.py: a line of JSON on standard input is a command, its answer a line on standard output.
//
//   load     {text, mmproj, kv: "f32" or "f16", flash: bool}        both models; frees those before
//   render   {messages, tools, jinja, continue, images: [FILE]}     {tokens}, as llama-server makes a prompt
//   encode   {text}                                                 {tokens}
//   decode   {tokens}                                               {text}
//   pixels   {width, height, rgb: FILE or null, out}                {columns, rows}; OUT has [height][width][3], float32
//   rgb      {file, out}                                            {width, height}; OUT has [height][width][3], bytes
//   run      {tokens, images: [{width, height, file}], answer, out} {tensors: [{part, name, op, shape}], logprobs}
//   step     {stage, parameters, tensors, file, out}                OUT has the output, float32 (steps.h)
//
// The vision encoder is given pixels, which mtmd.h has no function for: clip.h and mtmd-image.h are llama.cpp's own
// headers, not installed ones. All else is llama.h, mtmd.h and common/chat.h. No computation is done here: every value
// is read from llama.cpp's graphs by its callback cb_eval, but for logits and embeddings, which are its outputs.
#include "chat.h"
#include "clip-impl.h"
#include "clip.h"
#include "common.h"
#include "ggml-backend.h"
#include "llama.h"
#include "mtmd-helper.h"
#include "mtmd-image.h"
#include "mtmd.h"
#include "steps.h"

#include <nlohmann/json.hpp>

#include <cmath>
#include <cstring>
#include <fstream>
#include <iostream>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

using json = nlohmann::ordered_json;

static const llama_token IMG = 10, IMG_BREAK = 14, IMG_END = 15;

// What cb_eval keeps: every float node of the graphs of one run, one behind the other in one file.
struct Taps {
    std::ofstream file;
    json entries = json::array();
    std::string part;
    bool on = false;

    void write(const std::string & name, const std::string & op, const std::vector<int64_t> & shape, const float * data) {
        size_t count = 1;
        for (int64_t n : shape) count *= n;
        file.write((const char *) data, count * sizeof(float));
        entries.push_back({{"part", part}, {"name", name}, {"op", op}, {"shape", shape}});
    }

    // ask: whether the node is wanted; then it is called again with its values.
    static bool callback(ggml_tensor * t, bool ask, void * user) {
        auto * taps = (Taps *) user;
        bool wanted = taps->on && t->type == GGML_TYPE_F32 && t->op != GGML_OP_NONE && t->op != GGML_OP_VIEW && t->op != GGML_OP_PERMUTE && t->op != GGML_OP_TRANSPOSE && !ggml_is_empty(t);
        if (ask) return wanted;
        if (!wanted) return true;
        std::vector<uint8_t> bytes(ggml_nbytes(t));
        ggml_backend_tensor_get(t, bytes.data(), 0, bytes.size());
        std::vector<float> values;  // row-major, whatever the strides of a view are
        values.reserve(ggml_nelements(t));
        for (int64_t l = 0; l < t->ne[3]; l++)
            for (int64_t k = 0; k < t->ne[2]; k++)
                for (int64_t j = 0; j < t->ne[1]; j++)
                    for (int64_t i = 0; i < t->ne[0]; i++)
                        values.push_back(*(const float *) (bytes.data() + i * t->nb[0] + j * t->nb[1] + k * t->nb[2] + l * t->nb[3]));
        taps->write(t->name, ggml_op_desc(t), {t->ne[3], t->ne[2], t->ne[1], t->ne[0]}, values.data());
        return true;
    }
};

static Taps taps;
static llama_model * model = nullptr;
static llama_context * context = nullptr;
static clip_ctx * vision = nullptr;
static mtmd_context * media = nullptr;
static common_chat_templates_ptr templates;

template <typename T> static std::vector<T> read_all(const std::string & path) {
    std::ifstream file(path, std::ios::binary | std::ios::ate);
    if (!file) throw std::runtime_error("cannot read " + path);
    std::vector<T> values((size_t) file.tellg() / sizeof(T));
    file.seekg(0);
    file.read((char *) values.data(), values.size() * sizeof(T));
    return values;
}

static json load(const json & q) {
    if (media) mtmd_free(media);
    if (vision) clip_free(vision);
    if (context) llama_free(context);
    if (model) llama_model_free(model);
    media = nullptr, vision = nullptr, context = nullptr, model = nullptr;

    auto flash = q.at("flash").get<bool>();
    auto model_params = llama_model_default_params();
    model_params.n_gpu_layers = 0;
    model = llama_model_load_from_file(q.at("text").get<std::string>().c_str(), model_params);
    if (!model) throw std::runtime_error("llama_model_load_from_file failed");

    auto params = llama_context_default_params();
    params.n_ctx = params.n_batch = params.n_ubatch = 8192;
    params.n_threads = params.n_threads_batch = 2;
    params.type_k = params.type_v = q.at("kv") == "f16" ? GGML_TYPE_F16 : GGML_TYPE_F32;
    params.flash_attn_type = flash ? LLAMA_FLASH_ATTN_TYPE_AUTO : LLAMA_FLASH_ATTN_TYPE_DISABLED;
    params.cb_eval = Taps::callback;
    params.cb_eval_user_data = &taps;
    context = llama_init_from_model(model, params);
    if (!context) throw std::runtime_error("llama_init_from_model failed");

    clip_context_params clip{};
    clip.use_gpu = false;
    clip.flash_attn_type = flash ? CLIP_FLASH_ATTN_TYPE_AUTO : CLIP_FLASH_ATTN_TYPE_DISABLED;
    clip.image_min_tokens = clip.image_max_tokens = -1;
    clip.cb_eval = Taps::callback;
    clip.cb_eval_user_data = &taps;
    auto mmproj = q.at("mmproj").get<std::string>();
    vision = clip_init(mmproj.c_str(), clip).ctx_v;
    if (!vision) throw std::runtime_error("clip_init failed");

    auto media_params = mtmd_context_params_default();
    media_params.use_gpu = media_params.warmup = media_params.print_timings = false;
    media_params.n_threads = 2;
    media = mtmd_init_from_file(mmproj.c_str(), model, media_params);
    if (!media) throw std::runtime_error("mtmd_init_from_file failed");
    templates = common_chat_templates_init(model, "");
    return {{"template", common_chat_templates_source(templates.get())}};
}

static std::vector<llama_token> tokenize(const std::string & text, bool special) {
    return common_tokenize(llama_model_get_vocab(model), text, false, special);
}

// llama.cpp's own size and pixels of an image; of a placeholder (no rgb) the size alone.
static clip_image_f32 preprocess(int width, int height, const std::vector<uint8_t> & rgb) {
    clip_image_u8 image;
    image.set_size({width, height}, rgb.empty());
    if (!rgb.empty()) image.cpy_buf(rgb);
    return mtmd_image_preprocessor_dyn_size(vision).preprocess(image).entries.at(0);
}

static json pixels(const json & q) {
    std::vector<uint8_t> rgb;
    if (!q.at("rgb").is_null()) rgb = read_all<uint8_t>(q.at("rgb"));
    auto image = preprocess(q.at("width"), q.at("height"), rgb);
    if (!rgb.empty()) {
        const auto & values = image.get_ro_buf();
        std::ofstream(q.at("out").get<std::string>(), std::ios::binary).write((const char *) values.data(), values.size() * 4);
    }
    return {{"columns", image.nx() / 16}, {"rows", image.ny() / 16}};
}

static json rgb(const json & q) {
    auto * bitmap = mtmd_helper_bitmap_init_from_file(media, q.at("file").get<std::string>().c_str(), false, mtmd_helper_init_opt_default()).bitmap;
    if (!bitmap) throw std::runtime_error("Failed to load image or audio file");
    std::ofstream(q.at("out").get<std::string>(), std::ios::binary).write((const char *) mtmd_bitmap_get_data(bitmap), mtmd_bitmap_get_n_bytes(bitmap));
    json size = {{"width", mtmd_bitmap_get_nx(bitmap)}, {"height", mtmd_bitmap_get_ny(bitmap)}};
    mtmd_bitmap_free(bitmap);
    return size;
}

// As oaicompat_chat_params_parse and the tokenization of tools/server do it: images are markers of the media in the text.
static json render(const json & q) {
    common_chat_templates_inputs inputs;
    inputs.messages = common_chat_msgs_parse_oaicompat(common_json::parse(q.at("messages").dump()));
    if (!q.at("tools").is_null()) inputs.tools = common_chat_tools_parse_oaicompat(common_json::parse(q.at("tools").dump()));
    inputs.use_jinja = q.at("jinja");
    if (!inputs.use_jinja && !inputs.tools.empty()) throw std::runtime_error("tools param requires --jinja flag");
    if (!inputs.messages.empty() && inputs.messages.back().role == "assistant") {  // --prefill-assistant is the default
        inputs.continue_final_message = COMMON_CHAT_CONTINUATION_AUTO;
        inputs.add_generation_prompt = false;
    }
    std::string prompt = common_chat_templates_apply(templates.get(), inputs).prompt;

    std::vector<const mtmd_bitmap *> bitmaps;
    std::vector<std::pair<int, int>> grids;
    for (const auto & path : q.at("images")) {
        auto * bitmap = mtmd_helper_bitmap_init_from_file(media, path.get<std::string>().c_str(), false, mtmd_helper_init_opt_default()).bitmap;
        if (!bitmap) throw std::runtime_error("Failed to load image or audio file");
        bitmaps.push_back(bitmap);
        auto size = preprocess(mtmd_bitmap_get_nx(bitmap), mtmd_bitmap_get_ny(bitmap), {});
        grids.push_back({size.nx() / 16, size.ny() / 16});
    }
    mtmd_input_text text{prompt.c_str(), prompt.size(), true, true};
    auto * chunks = mtmd_input_chunks_init();
    int failed = mtmd_tokenize(media, chunks, &text, bitmaps.data(), bitmaps.size());
    json tokens = json::array();
    size_t image = 0;
    for (size_t i = 0; !failed && i < mtmd_input_chunks_size(chunks); i++) {
        auto * chunk = mtmd_input_chunks_get(chunks, i);
        if (mtmd_input_chunk_get_type(chunk) == MTMD_INPUT_CHUNK_TYPE_TEXT) {
            size_t n;
            auto * ids = mtmd_input_chunk_get_tokens_text(chunk, &n);
            for (size_t k = 0; k < n; k++) tokens.push_back(ids[k]);
        } else {  // embeddings, no ids: their number must be that of patches, and of breaks between rows
            auto [columns, rows] = grids.at(image++);
            if (mtmd_input_chunk_get_n_tokens(chunk) != (size_t) (columns * rows + rows - 1)) failed = 3;
            for (int row = 0; row < rows; row++) {
                if (row) tokens.push_back(IMG_BREAK);
                for (int column = 0; column < columns; column++) tokens.push_back(IMG);
            }
        }
    }
    mtmd_input_chunks_free(chunks);
    for (auto * bitmap : bitmaps) mtmd_bitmap_free((mtmd_bitmap *) bitmap);
    if (failed) throw std::runtime_error("mtmd_tokenize returned " + std::to_string(failed));
    return {{"tokens", tokens}, {"prompt", prompt}};
}

// Decodes some tokens, or an image's embeddings in their places, at POSITION; all positions give logits.
static void decode(const std::vector<llama_token> & tokens, size_t from, size_t to, size_t position, const std::vector<float> * embeddings) {
    size_t n = to - from, width = llama_model_n_embd(model);
    auto batch = llama_batch_init(n, embeddings ? width : 0, 1);
    batch.n_tokens = n;
    for (size_t i = 0; i < n; i++) {
        if (!embeddings) batch.token[i] = tokens[from + i];
        batch.pos[i] = position + i;
        batch.n_seq_id[i] = 1;
        batch.seq_id[i][0] = 0;
        batch.logits[i] = 1;
    }
    if (embeddings) {
        if (embeddings->size() != n * width) throw std::runtime_error("the image has " + std::to_string(embeddings->size() / width) + " embeddings for " + std::to_string(n) + " places");
        memcpy(batch.embd, embeddings->data(), n * width * sizeof(float));
        if (taps.on) taps.write("embd", "GET_ROWS", {1, 1, (int64_t) n, (int64_t) width}, embeddings->data());
    }
    int failed = llama_decode(context, batch);
    if (!failed && taps.on) {
        int64_t vocabulary = llama_vocab_n_tokens(llama_model_get_vocab(model));
        std::vector<float> logits;
        for (size_t i = 0; i < n; i++) {
            const float * row = llama_get_logits_ith(context, i);
            logits.insert(logits.end(), row, row + vocabulary);
        }
        taps.write("logits", "OUTPUT", {1, 1, (int64_t) n, vocabulary}, logits.data());
    }
    llama_batch_free(batch);
    if (failed) throw std::runtime_error("llama_decode returned " + std::to_string(failed));
}

static double log_probability(size_t row, llama_token token) {
    size_t vocabulary = llama_vocab_n_tokens(llama_model_get_vocab(model));
    const float * logits = llama_get_logits_ith(context, row);
    double largest = logits[0], sum = 0;
    for (size_t i = 0; i < vocabulary; i++) largest = std::max(largest, (double) logits[i]);
    for (size_t i = 0; i < vocabulary; i++) sum += std::exp(logits[i] - largest);
    return logits[token] - largest - std::log(sum);
}

// A prompt in parts, text and images, as mtmd_helper_eval_chunks decodes them; then an answer, a token at a time.
static json run(const json & q) {
    auto tokens = q.at("tokens").get<std::vector<llama_token>>();
    taps.entries = json::array();
    taps.on = q.at("answer").is_null();
    if (taps.on) taps.file.open(q.at("out").get<std::string>(), std::ios::binary | std::ios::trunc);

    std::vector<std::vector<float>> embeddings;
    for (const auto & given : q.at("images")) {
        clip_image_f32 image;
        image.set_size({given.at("width").get<int>(), given.at("height").get<int>()}, false, false);
        image.cpy_buf(read_all<float>(given.at("file")));
        std::vector<float> rows((size_t) clip_n_output_tokens(vision, &image) * clip_n_mmproj_embd(vision));
        taps.part = "image" + std::to_string(embeddings.size());
        if (!clip_image_encode(vision, 2, &image, rows)) throw std::runtime_error("clip_image_encode failed");
        embeddings.push_back(rows);
    }

    llama_memory_clear(llama_get_memory(context), true);
    size_t at = 0, image = 0, part = 0, last = 0;
    while (at < tokens.size()) {
        size_t end = at;
        bool is_image = tokens[at] == IMG && image < embeddings.size();
        if (is_image) while (end < tokens.size() && tokens[end] != IMG_END) end++;
        else while (end < tokens.size() && !(tokens[end] == IMG && image < embeddings.size())) end++;
        taps.part = "part" + std::to_string(part++);
        decode(tokens, at, end, at, is_image ? &embeddings[image] : nullptr);
        image += is_image;
        last = end - at - 1;
        at = end;
    }
    json result;
    if (!taps.on) {
        json said = json::array();
        auto answer = q.at("answer").get<std::vector<llama_token>>();
        for (size_t i = 0; i < answer.size(); i++) {
            said.push_back(log_probability(last, answer[i]));
            if (i + 1 < answer.size()) decode(answer, i, i + 1, tokens.size() + i, nullptr);
            last = 0;
        }
        result["logprobs"] = said;
    }
    if (taps.on) taps.file.close();
    taps.on = false;
    result["tensors"] = taps.entries;
    return result;
}

// A step on tensors that lie one behind the other in FILE: {name, shape} each.
static json run_step(const json & q) {
    auto data = read_all<float>(q.at("file"));
    std::map<std::string, std::pair<size_t, std::vector<int64_t>>> at;
    size_t offset = 0;
    for (const auto & given : q.at("tensors")) {
        auto shape = given.at("shape").get<std::vector<int64_t>>();
        at[given.at("name")] = {offset, shape};
        size_t count = 1;
        for (int64_t n : shape) count *= n;
        offset += count;
    }
    auto shape = [&](const std::string & name) { return at.count(name) ? at[name].second : std::vector<int64_t>(); };
    auto values = [&](const std::string & name) {
        if (!at.count(name)) throw std::invalid_argument("no tensor " + name);
        size_t count = 1;
        for (int64_t n : at[name].second) count *= n;
        return std::vector<float>(data.begin() + at[name].first, data.begin() + at[name].first + count);
    };
    auto output = step<json>(q.at("stage"), q.at("parameters"), values, shape);
    std::ofstream(q.at("out").get<std::string>(), std::ios::binary).write((const char *) output.data(), output.size() * 4);
    return {{"values", output.size()}};
}

int main() {
    ggml_backend_load_all();
    auto log = [](ggml_log_level level, const char * text, void *) {
        if (level >= GGML_LOG_LEVEL_ERROR) fputs(text, stderr);
    };
    llama_log_set(log, nullptr);
    mtmd_helper_log_set(log, nullptr);
    std::string line;
    while (std::getline(std::cin, line)) {
        json answer;
        try {
            json q = json::parse(line);
            std::string op = q.at("op");
            if (op == "load") answer = load(q);
            else if (op == "render") answer = render(q);
            else if (op == "encode") answer = {{"tokens", tokenize(q.at("text"), false)}};
            else if (op == "decode") answer = {{"text", common_detokenize(llama_model_get_vocab(model), q.at("tokens").get<std::vector<llama_token>>(), false)}};
            else if (op == "pixels") answer = pixels(q);
            else if (op == "rgb") answer = rgb(q);
            else if (op == "run") answer = run(q);
            else if (op == "step") answer = run_step(q);
            else throw std::runtime_error("unknown command " + op);
        } catch (const std::exception & error) {
            answer = {{"error", error.what()}};
        }
        std::cout << answer.dump(-1, ' ', false, json::error_handler_t::replace) << std::endl;
    }
}
