// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// SHA-256 over OpenSSL's EVP interface.
// Input: bytes; output: 32-byte digests.
// Invariant: SHA-256 is always there; its absence (a broken crypto library) is
// not an input error and ends the program.
#include "format/Sha256.h"

#include <cstdio>
#include <cstdlib>
#include <openssl/evp.h>

using namespace tbq;

static void require(bool succeeded) {
  if (succeeded)
    return;
  std::fputs("the OpenSSL library in use offers no SHA-256\n", stderr);
  std::abort();
}

void Sha256::Free::operator()(evp_md_ctx_st *context) const {
  EVP_MD_CTX_free(context);
}

Sha256::Sha256() : context(EVP_MD_CTX_new()) {
  require(context && EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr));
}

void Sha256::update(const void *data, uint64_t size) {
  require(EVP_DigestUpdate(context.get(), data, size));
}

Sha256Digest Sha256::finish() {
  Sha256Digest digest;
  require(EVP_DigestFinal_ex(context.get(), digest.data(), nullptr) &&
          EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr));
  return digest;
}

Sha256Digest tbq::sha256(const void *data, uint64_t size) {
  Sha256 hash;
  hash.update(data, size);
  return hash.finish();
}

std::string tbq::toHex(const Sha256Digest &digest) {
  const char *digits = "0123456789abcdef";
  std::string text;
  for (uint8_t byte : digest) {
    text += digits[byte >> 4];
    text += digits[byte & 15];
  }
  return text;
}
