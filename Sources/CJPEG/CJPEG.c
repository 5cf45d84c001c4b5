#include "CJPEG.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

// Scans of an image of few pixels, and of one of as many as allowed. Encoders make about ten.
enum { MAX_SCANS = 100, MAX_LARGE_SCANS = 20 };

typedef struct {
  struct jpeg_error_mgr manager; // first, so that libjpeg's pointer to it is a pointer to this
  jmp_buf escape;
  JPEGImage *image;
  uint64_t max_pixels;
} Failure;

static void leave(j_common_ptr codec, const char *message) {
  Failure *failure = (Failure *)codec->err;
  snprintf(failure->image->message, sizeof failure->image->message, "%s", message);
  longjmp(failure->escape, 1);
}

static void fail(j_common_ptr codec) {
  char message[JMSG_LENGTH_MAX];
  codec->err->format_message(codec, message);
  leave(codec, message);
}

// A progressive file may send any number of scans, each as long to decode as the image is large.
static void count_scans(j_common_ptr codec) {
  const Failure *failure = (const Failure *)codec->err;
  uint64_t scans = (uint64_t)((j_decompress_ptr)codec)->input_scan_number;
  uint64_t pixels = (uint64_t)failure->image->width * failure->image->height;
  if (scans > MAX_SCANS || (scans > MAX_LARGE_SCANS && scans * pixels > MAX_LARGE_SCANS * failure->max_pixels)) leave(codec, "too many scans");
}

static void silent(j_common_ptr codec) { (void)codec; }

static void nothing(j_decompress_ptr codec) { (void)codec; }

// libjpeg's own memory source pads a short file with an end marker and grey; a reference must not.
static boolean no_more_bytes(j_decompress_ptr codec) {
  leave((j_common_ptr)codec, "the file ends too early");
  return FALSE;
}

static void skip_bytes(j_decompress_ptr codec, long count) {
  if (count <= 0) return;
  if ((size_t)count > codec->src->bytes_in_buffer) no_more_bytes(codec);
  codec->src->next_input_byte += count;
  codec->src->bytes_in_buffer -= (size_t)count;
}

// A scan that begins with the DC coefficients has at least a bit for every block: a file that is shorter than that is not worth the memory
// that a progressive one of its size would take. Arithmetic coding needs less.
static int is_too_short(const struct jpeg_decompress_struct *codec, size_t left) {
  if (codec->arith_code || codec->Ss != 0) return 0;
  uint64_t blocks = 0;
  for (int i = 0; i < codec->comps_in_scan; i++)
    blocks += (uint64_t)codec->cur_comp_info[i]->width_in_blocks * codec->cur_comp_info[i]->height_in_blocks;
  return blocks / 8 > left;
}

JPEGImage jpeg_decode(const uint8_t *bytes, size_t count, uint64_t max_pixels, JPEGRow take_row, void *context) {
  JPEGImage image = {0};
  Failure failure = {.image = &image, .max_pixels = max_pixels};
  struct jpeg_decompress_struct codec = {.err = jpeg_std_error(&failure.manager)};
  struct jpeg_source_mgr source = {
      .next_input_byte = bytes, .bytes_in_buffer = count, .init_source = nothing, .fill_input_buffer = no_more_bytes,
      .skip_input_data = skip_bytes, .resync_to_restart = jpeg_resync_to_restart, .term_source = nothing};
  struct jpeg_progress_mgr progress = {.progress_monitor = count_scans};
  failure.manager.error_exit = fail;
  failure.manager.output_message = silent;
  if (setjmp(failure.escape)) goto done;
  jpeg_create_decompress(&codec);
  codec.src = &source;
  jpeg_read_header(&codec, TRUE);
  image.width = codec.image_width;
  image.height = codec.image_height;
  image.components = codec.num_components;
  image.max_side = 65535; // the format's own
  image.is_too_large = (uint64_t)image.width * image.height > max_pixels;
  if (image.is_too_large) leave((j_common_ptr)&codec, "too many pixels");
  image.is_open = 1;
  if (is_too_short(&codec, source.bytes_in_buffer)) no_more_bytes(&codec);
  codec.progress = &progress;
  codec.out_color_space = image.components == 4 ? JCS_CMYK : JCS_RGB;
  jpeg_start_decompress(&codec);
  JSAMPARRAY row = codec.mem->alloc_sarray((j_common_ptr)&codec, JPOOL_IMAGE, image.width * (JDIMENSION)codec.output_components, 1);
  while (codec.output_scanline < codec.output_height) {
    jpeg_read_scanlines(&codec, row, 1);
    if (take_row) take_row(context, &image, row[0]);
  }
  jpeg_finish_decompress(&codec);
  image.is_whole = 1;
done:
  jpeg_destroy_decompress(&codec);
  return image;
}
