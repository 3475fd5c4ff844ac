// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What post-training quantisation made of a float checkpoint, as our quantised
// checkpoint (docs/checkpoint.md).
// Invariant: importing what was written gives the weights that compiling the
// float checkpoint in the same way gives, bit for bit; config.json is written
// last, so that a directory without it is no checkpoint.
#ifndef TBQ_SAVEQUANTIZED_H
#define TBQ_SAVEQUANTIZED_H

#include "tbq/Checkpoint.h"
#include "tbq/QuantizeSpec.h"

namespace mlir::tbq {

struct SaveOptions {
  std::string directory;
  std::vector<PolicyRule> policy; // the first that matches a name
  QuantizeSpec embedding;         // no scheme: float
  std::string activations;        // "f32", "i16" or "i8"
};

/// `module` is what the graph stage makes of `checkpoint` by the same policy.
/// Files of another checkpoint in the directory are replaced or removed. Errors
/// name the file: the directory is the checkpoint's own, a weight that cannot
/// be quantised, the disk.
::tbq::Status saveQuantized(ModuleOp module,
                            const ::tbq::Checkpoint &checkpoint,
                            const SaveOptions &options);

/// The "quantization_config" of linears `names` under a policy. Errors: no
/// linear is quantised, or more rules than a config can hold.
::tbq::Result<std::string>
describeQuantization(llvm::ArrayRef<std::string> names,
                     const SaveOptions &options);

} // namespace mlir::tbq

#endif // TBQ_SAVEQUANTIZED_H
