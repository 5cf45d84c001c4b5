#include "CValues.h"

#include <string.h>

// A fused multiply-add would round once where the definition rounds twice.
#pragma STDC FP_CONTRACT OFF

// The compiler makes a copy for each of these kinds of processor, and the loader takes the best. Where there are no such kinds one copy has the
// vectors that every processor has. Under ThreadSanitizer the loader would choose before that has begun, and crash.
#if defined(__x86_64__) && defined(__gnu_linux__) && !__has_feature(thread_sanitizer)
#define FOR_EACH_PROCESSOR __attribute__((target_clones("default", "avx2", "arch=x86-64-v4")))
#else
#define FOR_EACH_PROCESSOR
#endif

static inline float float_of(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static inline uint32_t bits_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

FOR_EACH_PROCESSOR
void seeded_values(uint32_t k0, uint32_t k1, float offset, float step, uint32_t first, size_t count, float *out) {
  for (size_t i = 0; i < count; i++) {
    // Model.md 9.2
    uint32_t x = (first + (uint32_t)i) ^ k0;
    x ^= x >> 16;
    x = x * 0x85ebca6bu + k1;
    x ^= x >> 13;
    x *= 0xc2b2ae35u;
    x ^= x >> 16;
    // 9.3 and 9.4
    float m = (float)((int32_t)(x >> 8) - 0x800000);
    uint32_t value = bits_of(offset + m * step);
    out[i] = float_of((value + 0x7fff + (value >> 16 & 1)) & 0xffff0000u);
  }
}

FOR_EACH_PROCESSOR
void widen_float16(const void *bytes, size_t count, float *out) {
  for (size_t i = 0; i < count; i++) {
    uint16_t half;
    memcpy(&half, (const char *)bytes + 2 * i, sizeof half);
    // The exponent and fraction in their places in a float are 2¹¹² too small a number, subnormal ones too. The product is exact.
    uint32_t number = bits_of(float_of((uint32_t)(half & 0x7fff) << 13) * 0x1p112f);
    // But infinities and NaNs, whose exponent is the largest there is. A NaN is quiet.
    uint32_t other = 0x7f800000u | (uint32_t)(half & 0x3ff) << 13 | (half & 0x3ff ? 0x400000u : 0);
    out[i] = float_of((uint32_t)(half & 0x8000) << 16 | ((half & 0x7c00) == 0x7c00 ? other : number));
  }
}
