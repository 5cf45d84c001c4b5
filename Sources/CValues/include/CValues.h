// The values of weights at the machine's speed: loops that an ordinary build, for the oldest processor of its kind, would run several times
// slower. Each says in whose terms it is defined; to the bit, on any machine.
#pragma once
#include <stddef.h>
#include <stdint.h>

/// `count` values of a seeded tensor from the index `first` on, which wraps at 2³²: Swift's `SeededValues`.
void seeded_values(uint32_t k0, uint32_t k1, float offset, float step, uint32_t first, size_t count, float *out);

/// Widens `count` float16 values, which need not be aligned: Swift's `Float(Float16(bitPattern:))`.
void widen_float16(const void *bytes, size_t count, float *out);
