/* sha256_test.c: NIST's examples, and all lengths around the edges of a block, which Python's hashlib hashed as well. */
#include "../../csrc/wire/sha256.h"

#include "../engine/check.h"

/* In hexadecimal digits; the bytes in memory of their own, so that a read past the end is seen by the sanitizers. */
static const char *hash_of(const void *data, size_t length)
{
  static char text[2 * SF_SHA256_BYTES + 1];
  uint8_t digest[SF_SHA256_BYTES], *copy = malloc(length > 0 ? length : 1);
  memcpy(copy, data, length);
  sf_sha256(copy, length, digest);
  free(copy);
  for (int i = 0; i < SF_SHA256_BYTES; i++) snprintf(text + 2 * i, 3, "%02x", digest[i]);
  return text;
}

/* https://csrc.nist.gov/projects/cryptographic-standards-and-guidelines/example-values, and FIPS 180-2, B.3 */
static void test_examples(void)
{
  static const char *const examples[][2] = {
    { "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
    { "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
    { "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
      "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1" },
    { "abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrst"
      "u",
      "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1" },
  };
  for (size_t i = 0; i < sizeof examples / sizeof *examples; i++)
    CHECK(strcmp(hash_of(examples[i][0], strlen(examples[i][0])), examples[i][1]) == 0);
}

static void test_a_million(void)
{
  char *text = malloc(1000000);
  memset(text, 'a', 1000000);
  CHECK(strcmp(hash_of(text, 1000000), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0") == 0);
  free(text);
}

/* The hash of 300 hashes: of 0 to 299 bytes, byte i of n being 7 i + n. */
static void test_lengths(void)
{
  static uint8_t hashes[300 * SF_SHA256_BYTES], bytes[300];
  for (int n = 0; n < 300; n++) {
    for (int i = 0; i < n; i++) bytes[i] = (uint8_t)(i * 7 + n);
    sf_sha256(bytes, (size_t)n, hashes + n * SF_SHA256_BYTES);
  }
  CHECK(strcmp(hash_of(hashes, sizeof hashes), "d5238871a46ac4a1a75ac3fb19d645b0b3b9e5f35f5f720e2b240d605c6b694e") ==
        0);
}

int main(int argc, char **argv)
{
  static const check_test tests[] = {
    { "the examples of NIST", test_examples },
    { "a million letters", test_a_million },
    { "all lengths", test_lengths },
  };
  return check_main(tests, sizeof tests / sizeof *tests, argc, argv);
}
