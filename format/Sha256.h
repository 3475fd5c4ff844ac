// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// SHA-256 of bytes, at once or in pieces (OpenSSL's implementation).
// Invariant: the digest depends on the bytes only, not on how they were split.
#ifndef TBQ_FORMAT_SHA256_H
#define TBQ_FORMAT_SHA256_H

#include <array>
#include <cstdint>
#include <memory>
#include <string>

struct evp_md_ctx_st;

namespace tbq {

using Sha256Digest = std::array<uint8_t, 32>;

class Sha256 {
public:
  Sha256();
  void update(const void *data, uint64_t size);
  /// The digest of everything given so far; starts over afterwards.
  Sha256Digest finish();

private:
  struct Free {
    void operator()(evp_md_ctx_st *context) const;
  };
  std::unique_ptr<evp_md_ctx_st, Free> context;
};

Sha256Digest sha256(const void *data, uint64_t size);

/// Lower-case hexadecimal, 64 characters.
std::string toHex(const Sha256Digest &digest);

} // namespace tbq

#endif // TBQ_FORMAT_SHA256_H
