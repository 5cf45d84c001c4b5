// libjpeg behind one call: its errors leave by longjmp, which Swift cannot cross, so they stay on this side.
#pragma once
#include <stddef.h>
#include <stdint.h>

typedef struct {
  uint32_t width, height;
  int components;    // as stored: 1 grey, 3 colour, 4 CMYK
  uint8_t *samples;  // height rows of width pixels: RGB, or CMYK as stored; free() it; NULL if nothing was decoded
  char message[256]; // why nothing was decoded, one phrase
} JPEGImage;

/// Decodes `count` bytes of a JPEG file to 8-bit RGB, or CMYK if it has four components, with the library's exact defaults (integer DCT,
/// smooth chroma). Files of more than `max_pixels`, or of more than 100 scans, are not decoded.
JPEGImage jpeg_decode(const uint8_t *bytes, size_t count, uint64_t max_pixels);
