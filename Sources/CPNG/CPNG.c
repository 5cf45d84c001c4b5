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

PNGImage png_decode_rgba(const uint8_t *bytes, size_t count, uint64_t max_pixels) {
  PNGImage image = {0};
  Source source = {bytes, count, &image};
  png_bytep *volatile rows = NULL;
  png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &source, fail, ignore);
  png_infop info = png ? png_create_info_struct(png) : NULL;
  if (!info) {
    snprintf(image.message, sizeof image.message, "out of memory");
    png_destroy_read_struct(&png, NULL, NULL);
    return image;
  }
  if (setjmp(png_jmpbuf(png))) {
    free(image.rgba);
    image.rgba = NULL;
    goto done;
  }
  png_set_read_fn(png, &source, read_bytes);
  png_set_user_limits(png, 0x7fffffff, 0x7fffffff);
  png_read_info(png, info);
  image.width = png_get_image_width(png, info);
  image.height = png_get_image_height(png, info);
  image.bit_depth = png_get_bit_depth(png, info);
  if (image.bit_depth == 16) png_error(png, "16 bits a sample");
  if ((uint64_t)image.width * image.height > max_pixels) png_error(png, "too many pixels");

  // Palette to RGB, fewer than 8 bits to 8, tRNS to alpha; then grey to RGB and an opaque alpha where there is none.
  png_set_expand(png);
  png_set_gray_to_rgb(png);
  png_set_add_alpha(png, 0xff, PNG_FILLER_AFTER);
  png_set_interlace_handling(png);
  png_read_update_info(png, info);
  size_t stride = (size_t)image.width * 4;
  if (png_get_rowbytes(png, info) != stride) png_error(png, "an unexpected row size");
  image.rgba = malloc(stride * image.height);
  rows = malloc(sizeof(png_bytep) * image.height);
  if (!image.rgba || !rows) png_error(png, "out of memory");
  for (uint32_t y = 0; y < image.height; y++) rows[y] = image.rgba + y * stride;
  png_read_image(png, rows);
  png_read_end(png, NULL);
done:
  free(rows);
  png_destroy_read_struct(&png, &info, NULL);
  return image;
}
