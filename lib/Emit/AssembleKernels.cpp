// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// PTX to the machine code of one GPU, by NVIDIA's ptxas, a program of its own.
// Input: PTX and an architecture. Output: a cubin. Nothing else of a toolkit is
// needed.

#include "tbq/Emit.h"

#include "llvm/Support/FileSystem.h"
#include "llvm/Support/FileUtilities.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Program.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir::tbq;
using ::tbq::makeError;
using ::tbq::Result;

namespace {
/// An empty file that goes with this object.
struct Temporary {
  explicit Temporary(llvm::StringRef suffix)
      : error(llvm::sys::fs::createTemporaryFile("tbqc", suffix, path)),
        remover(path) {}
  std::string content() const {
    auto buffer = llvm::MemoryBuffer::getFile(path);
    return buffer ? (*buffer)->getBuffer().str() : "";
  }

  llvm::SmallString<64> path;
  std::error_code error;
  llvm::FileRemover remover;
};
} // namespace

std::string mlir::tbq::findAssembler(const std::string &given) {
  if (!given.empty())
    return given;
  llvm::ErrorOr<std::string> found = llvm::sys::findProgramByName("ptxas");
  return found ? *found : "";
}

Result<std::string> mlir::tbq::assembleKernels(const std::string &ptx,
                                               const std::string &architecture,
                                               const std::string &assembler) {
  Temporary input("ptx"), output("cubin"), messages("txt");
  std::error_code error;
  for (const Temporary *each : {&input, &output, &messages})
    if (each->error)
      error = each->error;
  if (!error) {
    llvm::raw_fd_ostream file(input.path, error);
    file << ptx;
    file.close();
    if (file.has_error())
      error = file.error();
    file.clear_error();
  }
  if (error)
    return makeError("--ptxas", "no temporary file", error.message());
  const std::string flag = "-arch=" + architecture;
  const llvm::StringRef arguments[] = {assembler, flag, "-o", output.path,
                                       input.path};
  const std::optional<llvm::StringRef> streams[] = {
      llvm::StringRef(), llvm::StringRef(messages.path),
      llvm::StringRef(messages.path)};
  std::string problem;
  int code = llvm::sys::ExecuteAndWait(assembler, arguments, std::nullopt,
                                       streams, 0, 0, &problem);
  if (code != 0) {
    const std::string said = messages.content();
    llvm::StringRef line = llvm::StringRef(said).ltrim().split('\n').first;
    return makeError("--ptxas", architecture,
                     line.empty() ? assembler + ": " + problem : line.str());
  }
  return output.content();
}
