# Builds the runtime for aarch64 Linux with Debian's cross compiler. scripts/aarch64.sh fills the
# folder TBQ_AARCH64_ROOT with that machine's libraries.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc-12)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++-12)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(CMAKE_TRY_COMPILE_PLATFORM_VARIABLES TBQ_AARCH64_ROOT)
set(CMAKE_FIND_ROOT_PATH ${TBQ_AARCH64_ROOT})
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
include_directories(SYSTEM ${TBQ_AARCH64_ROOT}/usr/include/aarch64-linux-gnu)
set(CMAKE_EXE_LINKER_FLAGS_INIT
    "-Wl,-rpath-link,${TBQ_AARCH64_ROOT}/usr/lib/aarch64-linux-gnu")
