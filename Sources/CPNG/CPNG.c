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
  image->has_alpha = (png_get_color_type(png, info) & PNG_COLOR_MASK_ALPHA) != 0;
  png_colorp palette;
  if (png_get_PLTE(png, info, &palette, &image->palette_count))
    for (int i = 0; i < image->palette_count; i++) memcpy(image->palette[i], (uint8_t[]){palette[i].red, palette[i].green, palette[i].blue}, 3);
  png_bytep alpha;
  png_color_16p key;
  int count = 0;
  if (!png_get_tRNS(png, info, &alpha, &count, &key)) return;
  if (image->has_palette) {
    image->palette_alpha_count = count;
    memcpy(image->palette_alpha, alpha, (size_t)count);
  } else if (key && image->channels == 1) {
    image->has_key = 1;
    image->key = key->gray;
  }
}

PNGImage png_decode(const uint8_t *bytes, size_t count, uint64_t max_pixels, PNGRow take_row, void *context) {
  PNGImage image = {0};
  Source source = {bytes, count, &image};
  uint8_t *volatile samples = NULL;
  png_bytep *volatile rows = NULL;
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
  png_read_info(png, info);
  describe(png, info, &image);
  if ((uint64_t)image.width * image.height > max_pixels) png_error(png, "too many pixels");

  png_set_packing(png); // fewer than 8 bits: a byte a sample, the value as it is
  int passes = png_set_interlace_handling(png);
  png_read_update_info(png, info);
  size_t stride = png_get_rowbytes(png, info);
  samples = malloc(passes > 1 ? stride * image.height : stride);
  if (!samples) png_error(png, "out of memory");
  if (passes > 1) {
    rows = malloc(sizeof(png_bytep) * image.height);
    if (!rows) png_error(png, "out of memory");
    for (uint32_t y = 0; y < image.height; y++) rows[y] = samples + y * stride;
    png_read_image(png, rows);
    for (uint32_t y = 0; y < image.height; y++) take_row(context, &image, y, rows[y]);
  } else {
    for (uint32_t y = 0; y < image.height; y++) {
      png_read_row(png, samples, NULL);
      take_row(context, &image, y, samples);
    }
  }
  png_read_end(png, NULL);
  image.is_whole = 1;
done:
  free(samples);
  free(rows);
  png_destroy_read_struct(&png, &info, NULL);
  return image;
}
