// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What LLVM's command line asks of a program that has it linked in.
#ifndef TBQ_TOOLS_TBQC_LLVMOPTIONS_H
#define TBQ_TOOLS_TBQC_LLVMOPTIONS_H

#include "llvm/ADT/StringRef.h"

#include <string>

/// LLVM's libraries register hundreds of options, some under our names, and lld
/// more when it runs. So before parsing ours are made alone, afterwards none.
void removeOptions(bool all);

/// What the parser reports, as one line: the first problem and its remedy.
std::string firstProblem(llvm::StringRef messages);

#endif // TBQ_TOOLS_TBQC_LLVMOPTIONS_H
