// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// SHA-256 against the vectors of FIPS 180-2, at once and in pieces.
#include "format/Sha256.h"

#include <gtest/gtest.h>

using namespace tbq;

TEST(Sha256, KnownVectors) {
  EXPECT_EQ(toHex(sha256("", 0)),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(toHex(sha256("abc", 3)),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Sha256, PiecesAndReuse) {
  Sha256 hash;
  std::string million(1'000'000, 'a');
  for (size_t at = 0; at < million.size(); at += 999)
    hash.update(&million[at], std::min<size_t>(999, million.size() - at));
  EXPECT_EQ(toHex(hash.finish()),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  hash.update("abc", 3);
  EXPECT_EQ(hash.finish(), sha256("abc", 3));
}
