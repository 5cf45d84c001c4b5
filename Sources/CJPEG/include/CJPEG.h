// libjpeg behind one call: its errors leave by longjmp, which Swift cannot cross, so they stay on this side.
#pragma once
#include <stddef.h>
#include <stdint.h>

typedef struct {
  uint32_t width, height;
  int components; // 1 grey, 3 colour, 4 CMYK
} JPEGFrame;

typedef struct {
  int is_whole;      // whether every row came
  int is_refused;    // whether it is this side that gives the file up, not libjpeg
  char message[256]; // why not, one phrase
} JPEGResult;

/// Takes the next row of the picture: RGB, or CMYK as stored where there are four components.
typedef void (*JPEGRow)(void *context, const uint8_t *samples);

/// Decodes `count` bytes of a JPEG file, whose frame is known, with the library's exact defaults (integer DCT, smooth chroma) and hands out the
/// rows from top to bottom; without `take_row`, only to know that it is whole. Refuses files of more scans than `max_scans`, and those whose
/// scans leave bits out.
JPEGResult jpeg_decode(JPEGFrame frame, const uint8_t *bytes, size_t count, int max_scans, JPEGRow take_row, void *context);
