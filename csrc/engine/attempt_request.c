/* attempt_request.c: what an attempt sends: URL, header lines in their order of precedence, key and body. */
#include <string.h>
#include <strings.h>

#include "attempt.h"

/* One block for the URL and the key's header: the key may be replaced or wiped while the attempt is out. */
static bool copy_url_and_key(sf_attempt *attempt, const sf_endpoint *endpoint, const sf_variant *variant)
{
  const sf_key *key = endpoint->key_count > 0 ? &endpoint->keys[attempt->key] : NULL;
  size_t base = strlen(endpoint->url), path = strlen(variant->path);
  size_t secret = key != NULL && key->header != NULL ? key->length + 1 : 0;
  size_t size = base + path + 1 + secret;
  if (size > attempt->url_capacity) {
    sf_free(attempt->url);
    attempt->url = sf_alloc(size);
    attempt->url_capacity = attempt->url != NULL ? size : 0;
    if (attempt->url == NULL) return false;
  }
  memcpy(attempt->url, endpoint->url, base);
  memcpy(attempt->url + base, variant->path, path + 1);
  if (secret > 0) {
    attempt->secret = memcpy(attempt->url + base + path + 1, key->header, secret);
    attempt->secret_bytes = secret;
    attempt->header_lines[attempt->request.header_count++] = attempt->secret;
  }
  return true;
}

static bool has_name(const char *line, const char *name, size_t length)
{
  return (line[0] | 32) == (name[0] | 32) && strncasecmp(line, name, length) == 0 && line[length] == ':';
}

/* A later line replaces an earlier one of the same name. */
static bool add_line(sf_attempt *attempt, const char *line)
{
  size_t place = 0, name = strcspn(line, ":");
  while (place < attempt->request.header_count && !has_name(attempt->header_lines[place], line, name)) place++;
  if (place == SF_MAX_HEADERS) return false;
  attempt->header_lines[place] = line;
  if (place == attempt->request.header_count) attempt->request.header_count++;
  return true;
}

static bool add_lines(sf_attempt *attempt, const char *lines, size_t count)
{
  for (; count > 0; count--, lines += strlen(lines) + 1)
    if (!add_line(attempt, lines)) return false;
  return true;
}

bool sf_attempt_fill_request(sf_attempt *attempt)
{
  sf_call *call = attempt->call;
  const sf_endpoint *endpoint = sf_attempt_endpoint(attempt);
  const sf_variant *variant = &call->variants[call->plan->targets[attempt->target].variant];
  attempt->exchange.request = &attempt->request;
  if (!copy_url_and_key(attempt, endpoint, variant)) return false;
  for (char **line = endpoint->headers; line != NULL && *line != NULL; line++)
    if (!add_line(attempt, *line)) return false;
  if (!add_lines(attempt, variant->header_text, variant->header_count)) return false;
  if (!add_lines(attempt, call->header_text, call->header_count)) return false;
  attempt->request.method = variant->text;
  attempt->request.url = attempt->url;
  attempt->request.headers = attempt->header_lines;
  attempt->request.body = variant->body;
  attempt->request.body_length = variant->body_length;
  attempt->request.upload = call->upload;
  attempt->request.line = &endpoint->line;
  attempt->request.header_limit = call->client->config.header_limit;
  attempt->request.stream = call->streams;
  return true;
}
