// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What a compile for a family of CPUs decides by measurement: a table, of which
// one is shipped for each family (lib/Tuning/tables) and any other is a file
// that `tbqc --tune` writes and `tbqc --tuning` reads. No MLIR in it.
// Invariant: a table decides how fast a step is, never what it computes: the
// same model has the same logits, bit for bit, with each.
#ifndef TBQ_CPUTABLE_H
#define TBQ_CPUTABLE_H

#include "tbq/Tuning.h"

#include "format/Result.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace mlir::tbq {

struct CpuTable {
  std::string family; // in words
  /// How four 8-bit products become one sum: a value of tbq-cpu's `dot`.
  std::string instructions = "plain";
  /// LLVM's name of the only processor it is for; empty: of any that has them.
  std::string processor;
  Tuning tuning;
  /// Where the figures of `roofline` are from, in words; empty: there are none.
  std::string measuredOn;
  int64_t threads = 0; // that they are of
  Roofline roofline;
};

/// A number of the table: its place in the file, and what it may be.
struct TuningField {
  const char *section, *key;
  int64_t Tuning::*value;
  int64_t least, most;
  enum Form { Any, Multiple16, Multiple64, PowerOfTwo } form;

  std::string name() const { return std::string(section) + "." + key; }
  bool allows(int64_t number) const;
  /// "0 to 65536, a multiple of 64".
  std::string describe() const;
};

const std::vector<TuningField> &tuningFields();

/// A table from JSON text. Every key must be there but `processor` and
/// `measured`, and no other; errors name the file, the key and what was
/// expected.
::tbq::Result<CpuTable> parseCpuTable(std::string_view text,
                                      const std::string &file);
::tbq::Result<CpuTable> readCpuTable(const std::string &path);
/// What parseCpuTable reads, for people too.
std::string printCpuTable(const CpuTable &table);

/// The table shipped for the family whose best instructions these are, or for
/// the processor itself.
const CpuTable &shippedCpuTable(std::string_view instructions,
                                std::string_view processor = "");

} // namespace mlir::tbq

#endif // TBQ_CPUTABLE_H
