// libpng behind one call: its errors leave by longjmp, which Swift cannot cross, so they stay on this side.
// The library's simplified interface is not used: it applies the file's gamma and colour chunks to the samples,
// and the model was trained on samples as they are stored.
#pragma once
#include <stddef.h>
#include <stdint.h>

typedef struct {
  uint32_t width, height;
  int bit_depth;     // as stored, 1 to 16
  uint8_t *rgba;     // height rows of width pixels, 4 bytes each; free() it; NULL if nothing was decoded
  char message[128]; // why nothing was decoded, one phrase
} PNGImage;

/// Decodes `count` bytes of a PNG file to 8-bit RGBA. Files of 16 bits, or of more than `max_pixels`, are not decoded.
PNGImage png_decode_rgba(const uint8_t *bytes, size_t count, uint64_t max_pixels);
