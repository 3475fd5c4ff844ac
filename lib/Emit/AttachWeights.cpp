// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Edits two ELF headers of what lld wrote: the weights' section and the segment
// that maps it.
// Invariant: the segment holds that section alone, and its offset is congruent
// to its address, as the loader wants, by huge pages: the kernel can map them.

#include "AttachWeights.h"

#include "format/Artifact.h"

#include "llvm/BinaryFormat/ELF.h"
#include "llvm/Object/ELFTypes.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir::tbq;
using ::tbq::makeError;
using ::tbq::Result;
using Elf = llvm::object::ELF64LE;
namespace elf = llvm::ELF;

/// `count` headers at `offset` of an image that our linker made.
template <class Header>
static llvm::MutableArrayRef<Header>
headersAt(llvm::MutableArrayRef<uint8_t> image, uint64_t offset,
          uint64_t count) {
  return {reinterpret_cast<Header *>(image.data() + offset), count};
}

Result<uint64_t> mlir::tbq::attachWeights(llvm::MutableArrayRef<uint8_t> image,
                                          const std::string &path) {
  auto &file = headersAt<Elf::Ehdr>(image, 0, 1)[0];
  auto sections = headersAt<Elf::Shdr>(image, file.e_shoff, file.e_shnum);
  const auto *names = reinterpret_cast<const char *>(
      image.data() + sections[file.e_shstrndx].sh_offset);
  auto section = llvm::find_if(sections, [&](const Elf::Shdr &header) {
    return llvm::StringRef(names + header.sh_name) == ::tbq::weightsSectionName;
  });
  auto segments = headersAt<Elf::Phdr>(image, file.e_phoff, file.e_phnum);
  auto segment = llvm::find_if(segments, [&](const Elf::Phdr &header) {
    return section != sections.end() && header.p_type == elf::PT_LOAD &&
           header.p_vaddr == section->sh_addr && header.p_filesz == 0 &&
           header.p_memsz == section->sh_size;
  });
  if (segment == segments.end())
    return makeError(path, ::tbq::weightsSectionName,
                     "the linker gave it no segment of its own");
  const uint64_t offset =
      llvm::alignTo(image.size(), llvm::Align(hugePageBytes),
                    /*Skew=*/segment->p_vaddr);
  section->sh_type = elf::SHT_PROGBITS;
  section->sh_flags = section->sh_flags & ~uint64_t(elf::SHF_WRITE);
  section->sh_offset = offset;
  segment->p_flags = elf::PF_R;
  segment->p_offset = offset;
  segment->p_filesz = section->sh_size;
  return offset;
}
