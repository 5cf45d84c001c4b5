#include "CJPEG.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

typedef struct {
  struct jpeg_error_mgr manager; // first, so that libjpeg's pointer to it is a pointer to this
  jmp_buf escape;
  JPEGResult *result;
  int max_scans;
} Failure;

static void leave(j_common_ptr codec, const char *message) {
  Failure *failure = (Failure *)codec->err;
  snprintf(failure->result->message, sizeof failure->result->message, "%s", message);
  longjmp(failure->escape, 1);
}

static void fail(j_common_ptr codec) {
  ((Failure *)codec->err)->result->is_whole = 0;
  char message[JMSG_LENGTH_MAX];
  codec->err->format_message(codec, message);
  leave(codec, message);
}

static void refuse(j_common_ptr codec, const char *message) {
  ((Failure *)codec->err)->result->is_refused = 1;
  leave(codec, message);
}

// A progressive file may send any number of scans, each as long to decode as the image is large.
static void count_scans(j_common_ptr codec) {
  if (((j_decompress_ptr)codec)->input_scan_number > ((const Failure *)codec->err)->max_scans) refuse(codec, "too many scans");
}

static void silent(j_common_ptr codec) { (void)codec; }

static void nothing(j_decompress_ptr codec) { (void)codec; }

// libjpeg's own memory source pads a short file with an end marker and grey; a reference must not.
static boolean no_more_bytes(j_decompress_ptr codec) {
  // A second frame is an error where it begins.
  int marker = codec->unread_marker;
  if (marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc) ((Failure *)codec->err)->result->is_whole = 0;
  leave((j_common_ptr)codec, "the file ends too early");
  return FALSE;
}

static void skip_bytes(j_decompress_ptr codec, long count) {
  if (count <= 0) return;
  if ((size_t)count > codec->src->bytes_in_buffer) no_more_bytes(codec);
  codec->src->next_input_byte += count;
  codec->src->bytes_in_buffer -= (size_t)count;
}

// Where bits of the first AC coefficients never came, the library guesses them from the blocks around, and each version guesses otherwise.
// It does so only where it knows something of every DC coefficient.
static int is_guessed(const struct jpeg_decompress_struct *codec) {
  enum { LAST_GUESSED = 9 };
  if (!codec->progressive_mode || !codec->coef_bits) return 0;
  int leaves_out = 0;
  for (int i = 0; i < codec->num_components; i++) {
    if (codec->coef_bits[i][0] < 0) return 0;
    for (int k = 1; k <= LAST_GUESSED; k++) leaves_out |= codec->coef_bits[i][k] != 0;
  }
  return leaves_out;
}

JPEGResult jpeg_decode(JPEGFrame frame, const uint8_t *bytes, size_t count, int max_scans, JPEGRow take_row, void *context) {
  JPEGResult result = {0};
  Failure failure = {.result = &result, .max_scans = max_scans};
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
  if (codec.image_width != frame.width || codec.image_height != frame.height || codec.num_components != frame.components)
    refuse((j_common_ptr)&codec, "two frames");
  codec.progress = &progress;
  codec.out_color_space = codec.num_components == 4 ? JCS_CMYK : JCS_RGB;
  jpeg_start_decompress(&codec);
  if (is_guessed(&codec)) refuse((j_common_ptr)&codec, "its scans leave out bits, and what is drawn in their place depends on the version of libjpeg");
  JSAMPARRAY row = codec.mem->alloc_sarray((j_common_ptr)&codec, JPOOL_IMAGE, codec.output_width * (JDIMENSION)codec.output_components, 1);
  while (codec.output_scanline < codec.output_height) {
    jpeg_read_scanlines(&codec, row, 1);
    if (take_row) take_row(context, row[0]);
  }
  // Behind the last row nothing needs to come, not even the end marker; but what comes must be in order.
  result.is_whole = 1;
  jpeg_finish_decompress(&codec);
done:
  jpeg_destroy_decompress(&codec);
  return result;
}
