// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Evaluates tbq.weights, one placed weight at a time, in the order of offsets.
// Input: the op and the checkpoint its names refer to; output: a stream of
// bytes.
// Invariant: a tensor is used only after the checkpoint confirmed the type and
// shape that the op gives it; its pages are given back once it is packed.

#include "tbq/WeightWriter.h"

#include "tbq/IR/PackBytes.h"
#include "tbq/Weights.h"

#include "llvm/ADT/SetVector.h"

using namespace mlir;
using namespace mlir::tbq;
using ::tbq::Checkpoint;
using ::tbq::makeError;
using ::tbq::Result;
using ::tbq::Status;
using ::tbq::TensorView;

/// Bytes handed on at a time, unless one tile is larger.
static constexpr int64_t kChunkBytes = 1 << 20;

namespace {
/// One weight, ready to be packed.
struct Source {
  PackSource parts;
  /// Tensors the parts lie in.
  SmallVector<const TensorView *, 4> tensors;
  /// Parts that were computed.
  QuantizedWeight quantized;
  std::vector<float> table;
};

class SectionWriter {
public:
  using Sink = llvm::function_ref<Status(ArrayRef<uint8_t>)>;
  SectionWriter(const Checkpoint &checkpoint, Sink sink)
      : checkpoint(checkpoint), sink(sink) {}

  Status place(PlaceOp op);
  /// Zeros up to `offset` of the section.
  Status fillTo(int64_t offset, StringRef what);

private:
  Result<const uint8_t *> readMatrix(Value operand, Source &source);
  Result<const TensorView *> use(Value operand, Source &source);
  Status readWeight(PackOp op, Source &source);
  Status readCoefficients(PackOp op, Source &source);
  Status readSalient(PackOp op, Source &source);
  Status readBias(PackOp op, Source &source);
  Status quantize(QuantizeOp op, PackOp pack, Source &source);
  Status write(ArrayRef<uint8_t> bytes);

  const Checkpoint &checkpoint;
  Sink sink;
  int64_t written = 0;
  std::vector<uint8_t> chunk;
};
} // namespace

static const uint8_t *bytesOf(const void *memory) {
  return static_cast<const uint8_t *>(memory);
}

static Type elementTypeOf(Value tensor) {
  return cast<RankedTensorType>(tensor.getType()).getElementType();
}

Status SectionWriter::write(ArrayRef<uint8_t> bytes) {
  written += bytes.size();
  return sink(bytes);
}

Status SectionWriter::fillTo(int64_t offset, StringRef what) {
  if (offset < written)
    return makeError("", what.str(),
                     "lies at byte " + std::to_string(offset) +
                         " of the weights, but what stands before it ends at " +
                         std::to_string(written));
  const std::vector<uint8_t> zeros(std::min(offset - written, kChunkBytes));
  while (written < offset) {
    const size_t count = std::min<int64_t>(offset - written, zeros.size());
    if (Status status = write(ArrayRef(zeros).take_front(count)); !status)
      return status;
  }
  return Status::ok();
}

/// An operand of a pack that must come from the checkpoint as it is.
Result<const TensorView *> SectionWriter::use(Value operand, Source &source) {
  auto op = operand.getDefiningOp<WeightOp>();
  if (!op)
    return makeError(
        "", "tbq.weights",
        "an operand of tbq.pack is not a tensor of the checkpoint");
  auto tensor = findTensor(op, checkpoint);
  if (tensor)
    source.tensors.push_back(*tensor);
  return tensor;
}

/// The elements of such an operand: of its plane, where it has one.
Result<const uint8_t *> SectionWriter::readMatrix(Value operand,
                                                  Source &source) {
  auto tensor = use(operand, source);
  if (!tensor)
    return tensor.error();
  return getElements(operand.getDefiningOp<WeightOp>(), **tensor);
}

/// Makes digits, coefficients and salient weights of a float matrix.
Status SectionWriter::quantize(QuantizeOp op, PackOp pack, Source &source) {
  auto matrix = use(op.getWeight(), source);
  if (!matrix)
    return matrix.error();
  if (int64_t(op.getGroup()) != pack.getCoefficientGroup())
    return makeError((*matrix)->file, (*matrix)->name,
                     "is quantised in groups of " +
                         std::to_string(op.getGroup()) +
                         ", but packed in groups of " +
                         std::to_string(pack.getCoefficientGroup()));
  auto quantized = evaluate(op, **matrix);
  if (!quantized)
    return quantized.error();
  source.quantized = *std::move(quantized);
  for (const std::vector<uint8_t> &plane : source.quantized.planes)
    source.parts.planes.push_back(plane.data());
  return Status::ok();
}

/// Elements or digits.
Status SectionWriter::readWeight(PackOp op, Source &source) {
  LayoutAttr layout = op.getType().getLayout();
  if (auto table = op.getWeight().getDefiningOp<RopeTableOp>()) {
    ArrayRef<float> frequencies = table.getInvFreq();
    const int64_t width = 2 * frequencies.size();
    source.table.resize(layout.getRows() * layout.getColumns());
    for (int64_t p = 0; p < cast<ShapedType>(table.getType()).getDimSize(0);
         ++p)
      fillRopeRow(p, frequencies, source.table.data() + p * width);
    source.parts.elements = bytesOf(source.table.data());
    source.parts.elementType = elementTypeOf(op.getWeight());
    return Status::ok();
  }
  if (auto digits = dyn_cast<DigitsType>(op.getWeight().getType());
      digits && layout.getDigits().take_front(layout.getNumDensePlanes()) !=
                    getDigitBits(digits.getScheme()))
    return makeError("", "tbq.weights",
                     stringifyScheme(digits.getScheme()).str() +
                         " digits are packed into planes of other widths");
  if (auto quantizeOp = op.getWeight().getDefiningOp<QuantizeOp>())
    return quantize(quantizeOp, op, source);
  auto matrix = readMatrix(op.getWeight(), source);
  if (!matrix)
    return matrix.error();
  if (layout.isFloat()) {
    source.parts.elements = *matrix;
    source.parts.elementType = elementTypeOf(op.getWeight());
    return Status::ok();
  }
  for (int64_t bits :
       getDigitBits(cast<DigitsType>(op.getWeight().getType()).getScheme())) {
    source.parts.planes.push_back(*matrix);
    *matrix += layout.getRows() * getRowBytes(layout.getColumns(), bits);
  }
  return Status::ok();
}

/// Whether an operand of the pack is made by the op that makes its digits.
static Status checkMaker(PackOp op, Value operand) {
  if (operand.getDefiningOp() == op.getWeight().getDefiningOp())
    return Status::ok();
  return makeError("", "tbq.weights",
                   "digits and coefficients of one weight come from two "
                   "quantisations");
}

/// Coefficients, in the order of the layout's terms.
Status SectionWriter::readCoefficients(PackOp op, Source &source) {
  source.parts.coefficientGroup = op.getCoefficientGroup();
  for (Value coefficient : op.getCoefficients()) {
    if (coefficient.getDefiningOp<QuantizeOp>()) {
      if (Status status = checkMaker(op, coefficient); !status)
        return status;
      // The digits are result 0.
      const unsigned number = cast<OpResult>(coefficient).getResultNumber() - 1;
      source.parts.coefficients.push_back(
          bytesOf(source.quantized.coefficients[number].data()));
      continue;
    }
    auto matrix = readMatrix(coefficient, source);
    if (!matrix)
      return matrix.error();
    source.parts.coefficients.push_back(*matrix);
  }
  return Status::ok();
}

/// The salient weights' mask, as the last dense plane, and what is under it.
Status SectionWriter::readSalient(PackOp op, Source &source) {
  if (op.getSalient().empty())
    return Status::ok();
  const uint8_t *parts[5] = {};
  const QuantizedWeight &quantized = source.quantized;
  const uint8_t *made[] = {quantized.mask.data(), quantized.values.data(),
                           bytesOf(quantized.offsets.data()),
                           bytesOf(quantized.valueScale.data()),
                           bytesOf(quantized.zero.data())};
  for (auto [i, part] : llvm::enumerate(op.getSalient())) {
    if (part.getDefiningOp<QuantizeOp>()) {
      if (Status status = checkMaker(op, part); !status)
        return status;
      parts[i] = made[i];
      continue;
    }
    auto tensor = readMatrix(part, source);
    if (!tensor)
      return tensor.error();
    parts[i] = *tensor;
  }
  source.parts.planes.push_back(parts[0]);
  source.parts.salientDigits = parts[1];
  source.parts.salientOffsets = parts[2];
  source.parts.rowCoefficients = parts[3];
  source.parts.zeroPoints = parts[4];
  return Status::ok();
}

Status SectionWriter::readBias(PackOp op, Source &source) {
  if (!op.getBias())
    return Status::ok();
  auto bias = readMatrix(op.getBias(), source);
  if (!bias)
    return bias.error();
  source.parts.bias = *bias;
  source.parts.biasType = elementTypeOf(op.getBias());
  return Status::ok();
}

Status SectionWriter::place(PlaceOp op) {
  auto pack = op.getWeight().getDefiningOp<PackOp>();
  if (!pack)
    return makeError("", op.getName().str(), "is placed but not packed");
  if (Status status = fillTo(op.getOffset(), op.getName()); !status)
    return status;
  Source source;
  for (auto read :
       {&SectionWriter::readWeight, &SectionWriter::readCoefficients,
        &SectionWriter::readSalient, &SectionWriter::readBias})
    if (Status status = (this->*read)(pack, source); !status)
      return status;
  LayoutAttr layout = pack.getType().getLayout();
  if (Status status = write(packTable(layout, source.parts)); !status)
    return status;
  const int64_t end = getNumParts(layout);
  for (int64_t part = 0; part < end;) {
    const int64_t first = part;
    int64_t bytes = getPartBytes(layout, source.parts, part++);
    for (; part < end; ++part) {
      const int64_t next = getPartBytes(layout, source.parts, part);
      if (bytes + next > kChunkBytes)
        break;
      bytes += next;
    }
    chunk.resize(bytes);
    packParts(layout, source.parts, first, part - first, chunk.data());
    if (Status status = write(chunk); !status)
      return status;
  }
  for (const TensorView *tensor : source.tensors)
    checkpoint.dropPages(*tensor);
  return Status::ok();
}

/// Bytes of a value that tbq.quantize makes.
static int64_t getMadeBytes(Type type) {
  if (auto tensor = dyn_cast<RankedTensorType>(type))
    return tensor.getNumElements() * tensor.getElementTypeBitWidth() / 8;
  auto digits = cast<DigitsType>(type);
  int64_t bytes = 0;
  for (int64_t bits : getDigitBits(digits.getScheme()))
    bytes += digits.getRows() * getRowBytes(digits.getColumns(), bits);
  return bytes;
}

/// What one weight is made of, in memory at once.
static int64_t getSourceBytes(PackOp pack, const Checkpoint &checkpoint) {
  LayoutAttr layout = pack.getType().getLayout();
  llvm::SetVector<Operation *> sources;
  for (Value operand : pack->getOperands())
    sources.insert(operand.getDefiningOp());
  int64_t bytes = 0;
  for (size_t i = 0; i < sources.size(); ++i) {
    if (auto weight = dyn_cast_or_null<WeightOp>(sources[i])) {
      if (const TensorView *tensor = checkpoint.find(weight.getName().str()))
        bytes += tensor->bytes;
    } else if (isa_and_nonnull<RopeTableOp>(sources[i])) {
      bytes += layout.getRows() * layout.getColumns() * sizeof(float);
    } else if (auto quantized = dyn_cast_or_null<QuantizeOp>(sources[i])) {
      sources.insert(quantized.getWeight().getDefiningOp());
      for (Type made : quantized->getResultTypes())
        bytes += getMadeBytes(made);
      if (layout.getSalient()) // a block, where thresholds are sought
        bytes += layout.getRows() * quantized.getGroup() * sizeof(float);
    }
  }
  return bytes;
}

int64_t mlir::tbq::getWritingMemory(WeightsOp weights,
                                    const Checkpoint &checkpoint) {
  int64_t largest = 0, chunk = kChunkBytes;
  for (PackOp pack : weights.getBody().getOps<PackOp>()) {
    largest = std::max(largest, getSourceBytes(pack, checkpoint));
    LayoutAttr layout = pack.getType().getLayout();
    const int64_t most =
        layout.getSalient() ? layout.getTile() * layout.getColumns() : 0;
    chunk = std::max(chunk, layout.getTileBytes(most));
  }
  return largest + 2 * chunk; // rows as floats, tiles
}

Status
mlir::tbq::writeWeights(WeightsOp weights, const Checkpoint &checkpoint,
                        llvm::function_ref<Status(ArrayRef<uint8_t>)> sink) {
  SectionWriter writer(checkpoint, sink);
  auto places = llvm::to_vector(weights.getBody().getOps<PlaceOp>());
  llvm::sort(places, [](PlaceOp a, PlaceOp b) {
    return a.getOffset() < b.getOffset();
  });
  for (PlaceOp op : places)
    if (Status status = writer.place(op); !status)
      return status;
  return writer.fillTo(weights.getBytes(), "the end");
}
