// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A table as what it makes of a model: an artifact, opened and stepped on all
// threads, with weights that are made up.
#ifndef TBQ_LIB_TUNING_CONTESTANT_H
#define TBQ_LIB_TUNING_CONTESTANT_H

#include "tbq/Compile.h"
#include "tbq/CpuTable.h"

#include "runtime/Session.h"

#include <memory>

namespace mlir::tbq {

/// A folder of the system's for temporary files, gone with its files in the
/// end.
class TemporaryFolder {
public:
  static ::tbq::Result<std::unique_ptr<TemporaryFolder>> create();
  explicit TemporaryFolder(std::string path) : path(std::move(path)) {}
  ~TemporaryFolder();

  const std::string path;
};

enum class Phase { Decode, Prefill };

class Contestant {
public:
  /// Compiles in `folder`, where no artifact is left. Its weights lie where
  /// those of `other` do, which may be null. An error of the compiler, which
  /// has printed it, has no message.
  static ::tbq::Result<std::shared_ptr<Contestant>>
  create(const CompileOptions &options, const CpuTable &table,
         const std::string &folder, const Contestant *other);

  /// Tokens a second of the threads it was made for, over about so many
  /// seconds, in a fresh session: which pages its memory has is luck, which is
  /// not to stay with a contestant.
  ::tbq::Result<double> measure(Phase phase, double seconds);
  /// Whether both are the same program.
  bool equals(const Contestant &other) const { return bytes == other.bytes; }

  const ::tbq::Model &model() const { return *opened; }
  int64_t threads() const { return workerThreads; } // 0: all

private:
  int64_t workerThreads = 0;
  std::string bytes; // of the artifact
  std::vector<int32_t> tokens;
  std::shared_ptr<const ::tbq::Model> opened;
};

/// The table's figures of this machine, from the steps of a contestant.
::tbq::Status measureRoofline(Contestant &contestant, CpuTable &table,
                              double seconds);

} // namespace mlir::tbq

#endif // TBQ_LIB_TUNING_CONTESTANT_H
