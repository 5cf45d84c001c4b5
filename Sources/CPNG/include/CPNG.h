// libpng behind two calls: its errors leave by longjmp, which Swift cannot cross, so they stay on this side.
// Only inflating, filters, interlacing and checksums are libpng's here. Samples come as they are stored: gamma and colour chunks are
// not applied, and how 16 bits, palettes and transparency become 8-bit RGB is Swift's to say.
#pragma once
#include <stddef.h>
#include <stdint.h>

typedef struct {
  uint32_t width, height;
  int bit_depth;   // as stored: 1, 2, 4, 8 or 16
  int channels;    // as stored: 1 grey or palette, 2 grey and alpha, 3 RGB, 4 RGB and alpha
  int has_palette;
  int palette_count;
  uint8_t palette[256][3];
  int transparency_count;
  uint8_t transparency[256]; // tRNS as stored; all zero if there is none
  uint32_t max_side;  // the longest side that the limit on pixels leaves
  int is_too_large;   // whether it has more pixels than allowed, or a longer side
  int is_open;      // whether all before the samples is in order
  int is_whole;     // whether every row came
  char message[256]; // why not, one phrase
} PNGImage;

/// Takes a row of `image`, a PNGImage: `width * channels` samples, a byte each, or two with the high byte first where `bit_depth` is 16.
typedef void (*PNGRow)(void *context, const void *image, const uint8_t *samples);

/// Decodes `count` bytes of a PNG file and hands out the rows from top to bottom; without `take_row`, only to know that it is whole.
/// Files of more than `max_pixels` are not decoded.
PNGImage png_decode(const uint8_t *bytes, size_t count, uint64_t max_pixels, PNGRow take_row, void *context);

typedef struct {
  uint8_t *bytes;  // the file; free() it; NULL if there was not memory enough
  size_t count;
} PNGFile;

/// A PNG file of 8-bit RGB: `height` rows of `width * 3` samples.
PNGFile png_encode(const uint8_t *samples, uint32_t width, uint32_t height);
