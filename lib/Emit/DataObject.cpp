// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Writes the ELF64 little-endian relocatable file that DataObject.h describes:
// header, the sections, symbol and string tables, section headers.
// Invariant: bytes are a function of the sections' names and contents.

#include "DataObject.h"

#include "llvm/BinaryFormat/ELF.h"
#include "llvm/Object/ELFTypes.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir::tbq;
using ::tbq::Result;
using ::tbq::Status;
using Elf = llvm::object::ELF64LE;
namespace elf = llvm::ELF;

template <class T> static llvm::ArrayRef<uint8_t> bytesOf(const T &value) {
  return {reinterpret_cast<const uint8_t *>(&value), sizeof(T)};
}

/// Appends `text` to a string table and gives its offset.
static uint32_t addString(std::string &table, llvm::StringRef text) {
  uint32_t offset = table.size();
  table += text;
  table += '\0';
  return offset;
}

Result<DataObject> DataObject::create(OutputFile &file,
                                      const llvm::Triple &triple) {
  DataObject object(file,
                    triple.isAArch64() ? elf::EM_AARCH64 : elf::EM_X86_64);
  Elf::Ehdr placeholder{}; // its contents are known at the end
  if (Status status = object.append(bytesOf(placeholder)); !status)
    return status.error();
  return object;
}

Status DataObject::append(llvm::ArrayRef<uint8_t> bytes) {
  position += bytes.size();
  if (inSection)
    sections.back().size += bytes.size();
  return file->write(bytes);
}

Status DataObject::pad(uint64_t alignment) {
  std::vector<uint8_t> zeros(llvm::alignTo(position, alignment) - position);
  position += zeros.size();
  return file->write(zeros);
}

Status DataObject::beginSection(std::string name, std::string symbol,
                                uint64_t alignment) {
  if (Status status = pad(alignment); !status)
    return status;
  sections.push_back(
      {std::move(name), std::move(symbol), alignment, position, 0});
  inSection = true;
  return Status::ok();
}

void DataObject::addMemory(std::string name, std::string symbol,
                           uint64_t alignment, uint64_t size) {
  sections.push_back({std::move(name), std::move(symbol), alignment, position,
                      size, /*isMemory=*/true});
  inSection = false;
}

void DataObject::addAbsent(std::string symbol, uint64_t size) {
  sections.push_back({"", std::move(symbol), 1, position, size});
  inSection = false;
}

Status DataObject::finish() {
  std::string names(1, '\0'), strings(1, '\0');
  std::vector<Elf::Shdr> headers(1);
  std::vector<Elf::Sym> symbols(1);
  headers[0] = {};
  symbols[0] = {};
  auto addHeader = [&](llvm::StringRef name, uint32_t type, uint64_t flags,
                       uint64_t offset, uint64_t size, uint64_t alignment) {
    Elf::Shdr header{};
    header.sh_name = addString(names, name);
    header.sh_type = type;
    header.sh_flags = flags;
    header.sh_offset = offset;
    header.sh_size = size;
    header.sh_addralign = alignment;
    headers.push_back(header);
  };
  auto addSymbol = [&](const std::string &name, uint16_t section,
                       uint64_t value, uint64_t size) {
    Elf::Sym symbol{};
    symbol.st_name = addString(strings, name);
    symbol.setBindingAndType(elf::STB_GLOBAL, elf::STT_OBJECT);
    symbol.setVisibility(elf::STV_HIDDEN);
    symbol.st_shndx = section;
    symbol.st_value = value;
    symbol.st_size = size;
    symbols.push_back(symbol);
  };

  // Large on x86-64: other sections stay within reach of each other however
  // many weights lie between.
  uint64_t flags = elf::SHF_ALLOC;
  if (machine == elf::EM_X86_64)
    flags |= elf::SHF_X86_64_LARGE;
  for (const Section &section : sections) {
    const bool absent = section.name.empty();
    addSymbol(section.symbol, absent ? uint16_t(elf::SHN_ABS) : headers.size(),
              0, absent ? 0 : section.size);
    addSymbol(section.symbol + "_bytes", elf::SHN_ABS, section.size, 0);
    if (absent)
      continue;
    // Writable memory goes behind everything else.
    addHeader(section.name,
              section.isMemory ? elf::SHT_NOBITS : elf::SHT_PROGBITS,
              section.isMemory ? flags | elf::SHF_WRITE : flags, section.offset,
              section.size, section.alignment);
  }
  addHeader(".note.GNU-stack", elf::SHT_PROGBITS, 0, position, 0, 1);

  if (Status status = pad(8); !status)
    return status;
  uint64_t symbolBytes = symbols.size() * sizeof(Elf::Sym);
  addHeader(".symtab", elf::SHT_SYMTAB, 0, position, symbolBytes, 8);
  headers.back().sh_link = headers.size(); // .strtab comes next
  headers.back().sh_info = 1;              // the first global symbol
  headers.back().sh_entsize = sizeof(Elf::Sym);
  addHeader(".strtab", elf::SHT_STRTAB, 0, position + symbolBytes,
            strings.size(), 1);
  addHeader(".shstrtab", elf::SHT_STRTAB, 0,
            position + symbolBytes + strings.size(), 0, 1);
  headers.back().sh_size = names.size();

  inSection = false;
  for (const Elf::Sym &symbol : symbols)
    if (Status status = append(bytesOf(symbol)); !status)
      return status;
  for (const std::string *table : {&strings, &names})
    if (Status status = append(
            {reinterpret_cast<const uint8_t *>(table->data()), table->size()});
        !status)
      return status;
  if (Status status = pad(8); !status)
    return status;

  Elf::Ehdr header{};
  llvm::copy(llvm::StringRef(elf::ElfMagic, 4), header.e_ident);
  header.e_ident[elf::EI_CLASS] = elf::ELFCLASS64;
  header.e_ident[elf::EI_DATA] = elf::ELFDATA2LSB;
  header.e_ident[elf::EI_VERSION] = elf::EV_CURRENT;
  header.e_type = elf::ET_REL;
  header.e_machine = machine;
  header.e_version = elf::EV_CURRENT;
  header.e_shoff = position;
  header.e_ehsize = sizeof(Elf::Ehdr);
  header.e_shentsize = sizeof(Elf::Shdr);
  header.e_shnum = headers.size();
  header.e_shstrndx = headers.size() - 1;
  for (const Elf::Shdr &section : headers)
    if (Status status = append(bytesOf(section)); !status)
      return status;
  return file->overwrite(0, bytesOf(header));
}
