#include "CPNG.h"

#include <png.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
  const uint8_t *next;
  size_t left;
  PNGImage *image;
} Source;

static void read_bytes(png_structp png, png_bytep out, size_t count) {
  Source *source = png_get_io_ptr(png);
  if (count > source->left) png_error(png, "the file ends too early");
  memcpy(out, source->next, count);
  source->next += count;
  source->left -= count;
}

static void fail(png_structp png, png_const_charp message) {
  Source *source = png_get_error_ptr(png);
  snprintf(source->image->message, sizeof source->image->message, "%s", message);
  longjmp(png_jmpbuf(png), 1);
}

static void ignore(png_structp png, png_const_charp message) { (void)png, (void)message; }

static void describe(png_structp png, png_infop info, PNGImage *image) {
  image->width = png_get_image_width(png, info);
  image->height = png_get_image_height(png, info);
  image->bit_depth = png_get_bit_depth(png, info);
  image->channels = png_get_channels(png, info);
  image->has_palette = png_get_color_type(png, info) == PNG_COLOR_TYPE_PALETTE;
  png_colorp palette;
  if (png_get_PLTE(png, info, &palette, &image->palette_count))
    for (int i = 0; i < image->palette_count; i++) memcpy(image->palette[i], (uint8_t[]){palette[i].red, palette[i].green, palette[i].blue}, 3);
}

// tRNS, untouched: libpng's own reading of it drops what Pillow takes. The last one counts.
static void take_transparency(png_structp png, png_infop info, PNGImage *image) {
  png_unknown_chunkp chunks;
  int count = png_get_unknown_chunks(png, info, &chunks);
  for (int i = 0; i < count; i++) {
    if (memcmp(chunks[i].name, "tRNS", 4)) continue;
    if (chunks[i].location & PNG_AFTER_IDAT) png_error(png, "tRNS behind the image data");
    if (image->channels == 1 && !image->has_palette && chunks[i].size < 2) png_error(png, "tRNS is too short");
    if (image->channels == 3 && chunks[i].size < 6) png_error(png, "tRNS is too short");
    image->transparency_count = chunks[i].size < sizeof image->transparency ? (int)chunks[i].size : (int)sizeof image->transparency;
    memcpy(image->transparency, chunks[i].data, (size_t)image->transparency_count);
  }
}

PNGImage png_decode(const uint8_t *bytes, size_t count, uint64_t max_pixels, PNGRow take_row, void *context) {
  PNGImage image = {0};
  Source source = {bytes, count, &image};
  uint8_t *volatile samples = NULL;
  png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &source, fail, ignore);
  png_infop info = png ? png_create_info_struct(png) : NULL;
  if (!info) {
    snprintf(image.message, sizeof image.message, "out of memory");
    png_destroy_read_struct(&png, NULL, NULL);
    return image;
  }
  if (setjmp(png_jmpbuf(png))) goto done;
  png_set_read_fn(png, &source, read_bytes);
  png_set_user_limits(png, 0x7fffffff, 0x7fffffff);
  // Texts, profiles and private chunks are skipped unread, be they as long as they say.
  png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, NULL, -1);
  png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_ALWAYS, (const uint8_t *)"tRNS", 1);
  png_set_crc_action(png, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
  png_read_info(png, info);
  describe(png, info, &image);
  take_transparency(png, info, &image);
  // A side may have a 32nd of the pixels: a row takes memory too.
  uint64_t max_side = max_pixels / 32 > 65535 ? max_pixels / 32 : 65535;
  image.max_side = max_side < UINT32_MAX ? (uint32_t)max_side : UINT32_MAX;
  image.is_too_large =
      (uint64_t)image.width * image.height > max_pixels || image.width > image.max_side || image.height > image.max_side;
  if (image.is_too_large) png_error(png, "too many pixels");
  image.is_open = 1;
  // A byte inflates to 1032 at most: a file that is shorter is not worth the memory that an interlaced one of its size would take.
  if ((uint64_t)png_get_rowbytes(png, info) * image.height / 1032 > count) png_error(png, "the file ends too early");

  png_set_packing(png); // fewer than 8 bits: a byte a sample, the value as it is
  int passes = png_set_interlace_handling(png);
  png_read_update_info(png, info);
  size_t stride = png_get_rowbytes(png, info);
  // The passes of an interlaced image fill it bit by bit; where nobody wants it, each row may go over the one before.
  int is_kept = passes > 1 && take_row;
  samples = malloc(is_kept ? stride * image.height : stride);
  if (!samples) png_error(png, "out of memory");
  for (int pass = 0; pass < passes; pass++) {
    for (uint32_t y = 0; y < image.height; y++) {
      uint8_t *row = samples + (is_kept ? y * stride : 0);
      png_read_row(png, row, NULL);
      if (take_row && pass == passes - 1) take_row(context, &image, row);
    }
  }
  png_read_end(png, info);
  take_transparency(png, info, &image);
  image.is_whole = 1;
done:
  free(samples);
  png_destroy_read_struct(&png, &info, NULL);
  return image;
}

PNGFile png_encode(const uint8_t *samples, uint32_t width, uint32_t height) {
  png_image image = {.version = PNG_IMAGE_VERSION, .width = width, .height = height, .format = PNG_FORMAT_RGB};
  PNGFile file = {0};
  png_alloc_size_t count = PNG_IMAGE_PNG_SIZE_MAX(image);
  if (!(file.bytes = malloc(count))) return file;
  if (png_image_write_to_memory(&image, file.bytes, &count, 0, samples, 0, NULL)) {
    file.count = count;
  } else {
    free(file.bytes);
    file.bytes = NULL;
  }
  return file;
}
