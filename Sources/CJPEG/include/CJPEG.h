// libjpeg behind one call: its errors leave by longjmp, which Swift cannot cross, so they stay on this side.
#pragma once
#include <stddef.h>
#include <stdint.h>

typedef struct {
  uint32_t width, height;
  int components;    // as stored: 1 grey, 3 colour, 4 CMYK
  uint32_t max_side;  // the longest side that the limit on pixels leaves
  int is_too_large;   // whether it has more pixels than allowed, or a longer side
  int is_open;      // whether all before the samples is in order
  int is_whole;     // whether every row came
  char message[256]; // why not, one phrase
} JPEGImage;

/// Takes a row of `image`, a JPEGImage, of `width` pixels: RGB, or CMYK as stored where there are four components.
typedef void (*JPEGRow)(void *context, const void *image, const uint8_t *samples);

/// Decodes `count` bytes of a JPEG file with the library's exact defaults (integer DCT, smooth chroma) and hands out the rows from top to bottom;
/// without `take_row`, only to know that it is whole. Files of more than `max_pixels`, or of more than 100 scans, are not decoded.
JPEGImage jpeg_decode(const uint8_t *bytes, size_t count, uint64_t max_pixels, JPEGRow take_row, void *context);
