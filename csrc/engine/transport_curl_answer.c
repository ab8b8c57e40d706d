/*
 * transport_curl_answer.c: what comes back on an easy handle. Header lines are gathered until the final block is whole
 * (1xx blocks are dropped, trailers ignored), body bytes are passed on, and libcurl's many endings become our few.
 */
#include <string.h>

#include "transport_curl.h"

/* ---- up-calls; each may cancel the exchange, which is then no longer ours ---- */

int sf_carrier_on_connected(void *context, char *remote_ip, char *local_ip, int remote_port, int local_port)
{
  (void)local_ip, (void)remote_port, (void)local_port;
  sf_carrier *carrier = context;
  if (carrier->exchange == NULL) return CURL_PREREQFUNC_ABORT;
  if (carrier->requested) { /* libcurl repeats by itself what died on a kept connection; that is not its to decide */
    carrier->again = true;
    return CURL_PREREQFUNC_ABORT;
  }
  carrier->requested = true;
  sf_carrier_note_link(carrier, remote_ip);
  /* cppcheck-suppress nullPointerRedundantCheck; it may be cancelled in there */
  carrier->exchange->up->connected(carrier->exchange);
  return carrier->exchange != NULL ? CURL_PREREQFUNC_OK : CURL_PREREQFUNC_ABORT;
}

static bool pass_headers(sf_carrier *carrier)
{
  sf_exchange *exchange = carrier->exchange;
  carrier->denied = sf_carrier_is_denied(carrier);
  if (carrier->denied) return false;
  const char *block = carrier->block.length > 0 ? carrier->block.data : "";
  bool taken = exchange->up->headers(exchange, carrier->status, block, carrier->block.length);
  carrier->refused = !taken;
  return taken && carrier->exchange != NULL;
}

/* Nobody wants it any more, but behind it the connection is as good as new. */
static size_t read_away(sf_carrier *carrier, size_t length)
{
  if (carrier->dry_until_ns == 0 || length > carrier->dry_bytes) return 0;
  carrier->dry_bytes -= length;
  return length;
}

size_t sf_carrier_on_body(char *data, size_t one, size_t length, void *context)
{
  (void)one;
  sf_carrier *carrier = context;
  sf_exchange *exchange = carrier->exchange;
  if (exchange == NULL) return read_away(carrier, length);
  if (carrier->paused) return CURL_WRITEFUNC_PAUSE;
  if (length > 0) carrier->any_body = true;
  bool taken = exchange->up->body(exchange, data, length);
  carrier->refused = !taken;
  return taken && carrier->exchange != NULL ? length : 0;
}

/* ---- headers ---- */

/* "HTTP/1.1 200 OK", "HTTP/2 200 ": the status, or 0. */
static int parse_status(const char *line, size_t length)
{
  const char *space = memchr(line, ' ', length);
  if (length < 8 || memcmp(line, "HTTP/", 5) != 0 || space == NULL) return 0;
  int status = 0;
  for (const char *digit = space + 1; digit < line + length && *digit >= '0' && *digit <= '9'; digit++) {
    status = status * 10 + (*digit - '0');
    if (status > 999) return 0;
  }
  return status;
}

/* One line, `text` of its bytes without its end. False ends the transfer. */
static bool take_header(sf_carrier *carrier, const char *line, size_t text, size_t length)
{
  if (carrier->status == 0) {
    carrier->status = parse_status(line, text);
    carrier->block.length = 0;
    carrier->http2 = text > 5 && line[5] == '2';
    return carrier->status != 0;
  }
  sf_buffer *block = &carrier->block;
  bool proper = length == text + 2 && line[text] == '\r' && line[text + 1] == '\n';
  if (text > 0 && proper) return sf_buffer_append(block, line, length);
  if (text > 0) return sf_buffer_append(block, line, text) && sf_buffer_append(block, "\r\n", 2);
  if (carrier->status < 200 && carrier->status != 101) {
    carrier->status = 0;
    return true;
  }
  carrier->headers_done = true;
  return pass_headers(carrier);
}

size_t sf_carrier_on_header(char *line, size_t one, size_t length, void *context)
{
  (void)one;
  sf_carrier *carrier = context;
  if (carrier->exchange == NULL) return read_away(carrier, length);
  carrier->any_response = true;
  carrier->header_bytes += length;
  if (carrier->header_bytes > carrier->exchange->request->header_limit) {
    carrier->refused = true;
    return 0;
  }
  if (carrier->headers_done) return length;
  size_t text = length;
  while (text > 0 && (line[text - 1] == '\n' || line[text - 1] == '\r')) text--;
  return take_header(carrier, line, text, length) ? length : 0;
}

/* ---- the end ---- */

typedef enum {
  END_LINE,
  END_OK,
  END_RESOLVE,
  END_CONNECT,
  END_TLS,
  END_CERTIFICATE,
  END_DECODE,
  END_SIZE,
  END_REQUEST
} ending;

/* What a code is about. Codes that are not listed are about the line. */
static const struct {
  CURLcode code;
  ending end;
} endings[] = {
  { CURLE_OK, END_OK },
  { CURLE_COULDNT_RESOLVE_HOST, END_RESOLVE },
  { CURLE_COULDNT_RESOLVE_PROXY, END_RESOLVE },
  { CURLE_COULDNT_CONNECT, END_CONNECT },
  { CURLE_PROXY, END_CONNECT },
  { CURLE_INTERFACE_FAILED, END_CONNECT },
  { CURLE_SSL_CONNECT_ERROR, END_TLS },
  { CURLE_PEER_FAILED_VERIFICATION, END_CERTIFICATE },
  { CURLE_SSL_CERTPROBLEM, END_CERTIFICATE },
  { CURLE_SSL_CIPHER, END_TLS },
  { CURLE_SSL_CACERT_BADFILE, END_CERTIFICATE },
  { CURLE_SSL_CRL_BADFILE, END_CERTIFICATE },
  { CURLE_SSL_ISSUER_ERROR, END_CERTIFICATE },
  { CURLE_SSL_PINNEDPUBKEYNOTMATCH, END_CERTIFICATE },
  { CURLE_SSL_INVALIDCERTSTATUS, END_CERTIFICATE },
  { CURLE_SSL_CLIENTCERT, END_CERTIFICATE },
  { CURLE_SSL_ENGINE_NOTFOUND, END_TLS },
  { CURLE_SSL_ENGINE_SETFAILED, END_TLS },
  { CURLE_SSL_ENGINE_INITFAILED, END_TLS },
  { CURLE_USE_SSL_FAILED, END_TLS },
  { CURLE_BAD_CONTENT_ENCODING, END_DECODE },
  { CURLE_FILESIZE_EXCEEDED, END_SIZE },
  { (CURLcode)100, END_SIZE }, /* CURLE_TOO_LARGE, since 8.6 */
  { CURLE_OUT_OF_MEMORY, END_REQUEST },
  { CURLE_UNSUPPORTED_PROTOCOL, END_REQUEST },
  { CURLE_FAILED_INIT, END_REQUEST },
  { CURLE_URL_MALFORMAT, END_REQUEST },
  { CURLE_NOT_BUILT_IN, END_REQUEST },
  { CURLE_BAD_FUNCTION_ARGUMENT, END_REQUEST },
  { CURLE_UNKNOWN_OPTION, END_REQUEST },
  { CURLE_SETOPT_OPTION_SYNTAX, END_REQUEST },
};

static ending ending_of(CURLcode code)
{
  for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
    if (endings[i].code == code) return endings[i].end;
  return END_LINE;
}

static sf_result line_broke(const sf_carrier *carrier)
{
  if (!carrier->requested) return SF_RESULT_CONNECT_FAILED;
  return carrier->headers_done ? SF_RESULT_TRUNCATED : SF_RESULT_LOST;
}

static curl_off_t number(const sf_carrier *carrier, CURLINFO info)
{
  curl_off_t value = 0;
  return curl_easy_getinfo(carrier->easy, info, &value) == CURLE_OK ? value : -1;
}

/* libcurl 7.88 calls an aborted HTTP/2 body complete, so its word is checked against the framing. */
static bool is_whole(const sf_carrier *carrier, const sf_exchange *exchange)
{
  if (!carrier->headers_done) return false;
  if (carrier->status == 204 || carrier->status == 304) return true;
  if (exchange != NULL && strcmp(exchange->request->method, "HEAD") == 0) return true;
  return number(carrier, CURLINFO_SIZE_DOWNLOAD_T) >= number(carrier, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T);
}

/* More data behind the end of a coding, which libcurl calls an error of writing. */
static bool is_overlong(const sf_carrier *carrier, CURLcode code)
{
  return code == CURLE_WRITE_ERROR && carrier->headers_done;
}

/* To a name server over HTTPS that knows the name, but no address of it, libcurl 7.88 answers with lack of memory. */
static bool has_no_address(const sf_carrier *carrier, CURLcode code)
{
  const sf_exchange *exchange = carrier->exchange;
  return code == CURLE_OUT_OF_MEMORY && exchange != NULL && exchange->request->line->doh_url != NULL &&
         number(carrier, CURLINFO_NAMELOOKUP_TIME_T) == 0;
}

static sf_result judge(const sf_carrier *carrier, CURLcode code)
{
  if (carrier->refused) return SF_RESULT_TOO_LARGE;
  if (carrier->spoiled) return SF_RESULT_BAD_REQUEST;
  if (carrier->denied) return SF_RESULT_PROXY_REFUSED;
  if (carrier->again) return SF_RESULT_LOST;
  if (is_overlong(carrier, code)) return SF_RESULT_UNDECODABLE;
  switch (ending_of(code)) {
  case END_OK: return is_whole(carrier, carrier->exchange) ? SF_RESULT_COMPLETE : line_broke(carrier);
  case END_RESOLVE: return SF_RESULT_RESOLVE_FAILED;
  case END_CONNECT: return line_broke(carrier);
  case END_TLS: return carrier->requested ? line_broke(carrier) : SF_RESULT_TLS_FAILED;
  case END_CERTIFICATE: return SF_RESULT_CERTIFICATE;
  case END_DECODE: return SF_RESULT_UNDECODABLE;
  case END_SIZE: return SF_RESULT_TOO_LARGE;
  case END_REQUEST:
    if (has_no_address(carrier, code)) return SF_RESULT_RESOLVE_FAILED;
    if (!carrier->requested) return SF_RESULT_BAD_REQUEST;
    /* libcurl's own bound on a header line shows as lack of memory */
    if (code == CURLE_OUT_OF_MEMORY && !carrier->headers_done) return SF_RESULT_TOO_LARGE;
    return line_broke(carrier);
  default: return line_broke(carrier);
  }
}

static const char *message_of(const sf_carrier *carrier, CURLcode code, sf_result result)
{
  if (result == SF_RESULT_COMPLETE) return "";
  if (carrier->spoiled) return carrier->exchange->request->upload->problem;
  if (carrier->denied) return carrier->error;
  if (carrier->again) return "the kept connection died before the first response byte";
  if (result == SF_RESULT_TOO_LARGE) return carrier->any_body ? "the body is too large" : "the headers are too large";
  if (is_overlong(carrier, code)) return "the content coding ends before the body";
  if (code == CURLE_OK) return carrier->headers_done ? "the body ended early" : "the connection ended unanswered";
  return carrier->error[0] != '\0' ? carrier->error : curl_easy_strerror(code);
}

/* libcurl's size of the request holds the head and, by version and size of the body, the body too or not. */
static uint64_t bytes_sent(const sf_carrier *carrier)
{
  long request = 0;
  curl_easy_getinfo(carrier->easy, CURLINFO_REQUEST_SIZE, &request);
  curl_off_t upload = number(carrier, CURLINFO_SIZE_UPLOAD_T);
  return (uint64_t)(request > upload ? request : request + upload);
}

static sf_phase phase_of(const sf_carrier *carrier)
{
  if (!carrier->requested || carrier->denied) return SF_PHASE_CONNECT;
  return carrier->any_body ? SF_PHASE_IDLE : SF_PHASE_FIRST_BYTE;
}

/* No connection to the line: why, and is it any use to try again? */
static sf_result unconnected(sf_carrier *carrier, CURLcode code, sf_result result)
{
  bool known = carrier->denied || result == SF_RESULT_RESOLVE_FAILED || result == SF_RESULT_CONNECT_FAILED ||
               result == SF_RESULT_TLS_FAILED || result == SF_RESULT_CERTIFICATE;
  if (!carrier->requested) sf_carrier_note_link(carrier, NULL);
  if (!carrier->denied && sf_carrier_lacks_files(carrier, result)) return SF_RESULT_NO_FILES;
  if (known) sf_carrier_explain(carrier, code, result);
  sf_cause cause = carrier->exchange->link.cause;
  return cause == SF_CAUSE_CREDENTIALS || cause == SF_CAUSE_DENIED ? SF_RESULT_PROXY_REFUSED : result;
}

void sf_carrier_report(sf_carrier *carrier, CURLcode code, sf_done *done)
{
  sf_result result = judge(carrier, code);
  sf_phase phase = phase_of(carrier);
  if (phase == SF_PHASE_CONNECT) result = unconnected(carrier, code, result);
  bool sent = phase != SF_PHASE_CONNECT; /* else the bytes were for the proxy */
  long headers = 0;
  curl_easy_getinfo(carrier->easy, CURLINFO_HEADER_SIZE, &headers);
  *done = (sf_done){
    .result = result,
    .phase = phase,
    .reused = carrier->requested && !carrier->opened,
    .any_response = carrier->any_response,
    .bytes_sent = sent ? bytes_sent(carrier) : 0,
    .bytes_received = (uint64_t)headers + (uint64_t)number(carrier, CURLINFO_SIZE_DOWNLOAD_T),
    .message = message_of(carrier, code, result),
  };
}
