// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Reads ELF headers field by field through a bounded reader.
// Invariant: no offset or size from the file is used before it is checked.
#include "format/Elf.h"

#include "format/BoundedReader.h"
#include "format/CheckedSize.h"

#include <elf.h>

using namespace tbq;

static std::string machineName(uint16_t machine) {
  switch (machine) {
  case EM_X86_64:
    return "x86-64";
  case EM_AARCH64:
    return "aarch64";
  default:
    return "machine " + std::to_string(machine);
  }
}

Status tbq::checkElfHeader(const uint8_t *data, uint64_t size,
                           const std::string &file, uint16_t machine) {
  if (size < sizeof(Elf64_Ehdr) ||
      std::string_view(reinterpret_cast<const char *>(data), SELFMAG) != ELFMAG)
    return makeError(file, "ELF header", "not an ELF file");
  if (data[EI_CLASS] != ELFCLASS64)
    return makeError(file, "ELF header", "not a 64-bit ELF file");
  if (data[EI_DATA] != ELFDATA2LSB)
    return makeError(file, "ELF header", "not little-endian");
  BoundedReader reader(data, size);
  reader.seek(EI_NIDENT);
  auto type = reader.read<uint16_t>();
  auto found = reader.read<uint16_t>();
  if (*type != ET_DYN)
    return makeError(file, "ELF header",
                     "not a shared object (e_type " + std::to_string(*type) +
                         ")");
  if (*found != machine)
    return makeError(file, "ELF header",
                     "code for " + machineName(*found) + ", not for " +
                         machineName(machine));
  return Status::ok();
}

namespace {

struct Section {
  uint32_t name, type;
  FileRange range;
};

} // namespace

/// Section `index` of the table at `table`; nothing if it is out of bounds.
static std::optional<Section> readSection(BoundedReader &reader, uint64_t table,
                                          uint64_t index) {
  CheckedSize at =
      checkedAdd(table, checkedMul(index, uint64_t(sizeof(Elf64_Shdr))));
  if (!at || !reader.seek(*at) || reader.remaining() < sizeof(Elf64_Shdr))
    return std::nullopt;
  Section section;
  section.name = *reader.read<uint32_t>();
  section.type = *reader.read<uint32_t>();
  reader.skip(16); // sh_flags, sh_addr
  section.range.offset = *reader.read<uint64_t>();
  section.range.size = *reader.read<uint64_t>();
  CheckedSize end = checkedAdd(section.range.offset, section.range.size);
  if (section.type != SHT_NOBITS && (!end || *end > reader.size()))
    return std::nullopt;
  return section;
}

Result<std::optional<FileRange>> tbq::findElfSection(const uint8_t *data,
                                                     uint64_t size,
                                                     const std::string &file,
                                                     std::string_view name) {
  if (size < sizeof(Elf64_Ehdr))
    return makeError(file, "ELF header", "not an ELF file");
  BoundedReader reader(data, size);
  reader.seek(offsetof(Elf64_Ehdr, e_shoff));
  uint64_t table = *reader.read<uint64_t>();
  reader.seek(offsetof(Elf64_Ehdr, e_shnum));
  uint16_t count = *reader.read<uint16_t>();
  uint16_t namesIndex = *reader.read<uint16_t>();

  Error damaged = makeError(file, "ELF sections", "table out of bounds");
  auto names = readSection(reader, table, namesIndex);
  if (!names || names->type != SHT_STRTAB)
    return damaged;
  std::string_view strings(reinterpret_cast<const char *>(data) +
                               names->range.offset,
                           names->range.size);
  for (uint16_t i = 0; i < count; ++i) {
    auto section = readSection(reader, table, i);
    if (!section || section->name > strings.size())
      return damaged;
    std::string_view tail = strings.substr(section->name);
    if (tail.substr(0, tail.find('\0')) != name)
      continue;
    if (section->type == SHT_NOBITS)
      return makeError(file, name, "ELF section has no bytes in the file");
    return std::optional<FileRange>(section->range);
  }
  return std::optional<FileRange>();
}
