// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The one place that calls lld. Invariant: the output names no path, no time
// and no library; all its segments are either writable or executable or
// neither, and relocations are read-only after loading.

#include "Link.h"

#include "lld/Common/Driver.h"
#include "llvm/ADT/SmallVector.h"

LLD_HAS_DRIVER(elf)

using namespace mlir::tbq;
using ::tbq::makeError;
using ::tbq::Status;

Status mlir::tbq::linkShared(llvm::ArrayRef<std::string> objects,
                             const std::string &output,
                             const llvm::Triple &triple) {
  llvm::SmallVector<const char *> arguments = {
      "ld.lld",
      "-m",
      triple.isAArch64() ? "aarch64linux" : "elf_x86_64",
      "-shared",
      "--build-id=none",
      "--hash-style=gnu",
      "--no-dynamic-linker",
      "--color-diagnostics=never",
      "-z",
      "noexecstack",
      "-z",
      "now",
      "-z",
      "relro",
      "-z",
      "text",
      "-o",
      output.c_str()};
  for (const std::string &object : objects)
    arguments.push_back(object.c_str());
  std::string text;
  llvm::raw_string_ostream messages(text);
  lld::Result result = lld::lldMain(arguments, messages, messages,
                                    {{lld::Gnu, &lld::elf::link}});
  if (result.retCode == 0)
    return Status::ok();
  llvm::StringRef first = llvm::StringRef(text).ltrim().split('\n').first;
  first.consume_front("ld.lld: error: ");
  return makeError("", "link",
                   first.empty() ? "lld failed" : std::string_view(first));
}
