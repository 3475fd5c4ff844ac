// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What the CPU we run on can execute, by LLVM's feature names, so that an
// artifact's needs are compared with it by name before any of its code runs.
// Asks the processor and the operating system (saved register state) itself;
// a name this file does not know counts as missing, never as present.
#ifndef TBQ_FORMAT_CPU_H
#define TBQ_FORMAT_CPU_H

#include <cstdint>
#include <string>
#include <vector>

namespace tbq {

/// Architecture as LLVM triples spell it ("x86_64", "aarch64"), or "unknown".
const char *hostArchitecture();

/// The same as an ELF e_machine value; 0 if unknown.
uint16_t hostElfMachine();

/// LLVM names of the features usable on this host, sorted.
std::vector<std::string> hostFeatures();

/// Those of `needed` that the host lacks, in the order given.
std::vector<std::string>
missingFeatures(const std::vector<std::string> &needed);

/// Asks the operating system for the features of `needed` that it grants to a
/// process only on request: the state of AMX tiles on Linux. Threads started
/// later have them too. Returns those it refuses.
std::vector<std::string>
requestFeatures(const std::vector<std::string> &needed);

/// Whether this host has the feature with this LLVM name.
bool hostHasFeature(const std::string &name);

} // namespace tbq

#endif // TBQ_FORMAT_CPU_H
