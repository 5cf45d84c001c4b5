#include <curl/curl.h>

// Swift calls no function of C that takes any number of arguments.
static inline CURLcode curl_set_number(CURL *handle, CURLoption option, long value) {
  return (curl_easy_setopt)(handle, option, value);
}

static inline CURLcode curl_set_pointer(CURL *handle, CURLoption option, const void *value) {
  return (curl_easy_setopt)(handle, option, value);
}

typedef size_t (*curl_taker)(char *bytes, size_t size, size_t count, void *taker);

static inline CURLcode curl_set_taker(CURL *handle, curl_taker take, void *taker) {
  CURLcode code = (curl_easy_setopt)(handle, CURLOPT_WRITEFUNCTION, take);
  return code ? code : (curl_easy_setopt)(handle, CURLOPT_WRITEDATA, taker);
}

static inline CURLcode curl_get_retry_after(CURL *handle, curl_off_t *seconds) {
  return (curl_easy_getinfo)(handle, CURLINFO_RETRY_AFTER, seconds);
}

static inline CURLcode curl_get_status(CURL *handle, long *status) {
  return (curl_easy_getinfo)(handle, CURLINFO_RESPONSE_CODE, status);
}
