# What every target of the project shares: warnings, no exceptions, sanitizers, and the two kinds of library.

add_compile_options(-Wall -Wextra -Wno-unused-parameter -fno-exceptions)
if(CMAKE_CXX_COMPILER_ID MATCHES Clang)
  add_compile_options(-fcolor-diagnostics)
endif()
if(V4_SANITIZE)
  add_compile_options(-fsanitize=${V4_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${V4_SANITIZE})
endif()
if(V4_COVERAGE)
  add_compile_options(-fprofile-instr-generate -fcoverage-mapping)
  add_link_options(-fprofile-instr-generate)
endif()

# A compiler library: MLIR headers, LLVM's RTTI setting, and one precompiled header for all of them
# (a pass file takes 11 s to compile without it, 2-3 s with it).
function(v4_compiler_library name)
  add_library(${name} STATIC ${ARGN})
  v4_use_mlir(${name})
endfunction()

# Headers, definitions and the dynamic libraries only: mixing in static MLIR archives would register every dialect twice.
function(v4_use_mlir_settings name)
  target_include_directories(${name} SYSTEM PUBLIC ${MLIR_INCLUDE_DIRS} ${LLVM_INCLUDE_DIRS})
  target_include_directories(${name} PUBLIC ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR})
  target_compile_definitions(${name} PRIVATE ${LLVM_DEFINITIONS_LIST})
  if(NOT LLVM_ENABLE_ASSERTIONS)
    # Without assertions the libraries lack functions that the headers use when NDEBUG is not defined.
    target_compile_definitions(${name} PUBLIC $<$<CONFIG:Debug>:NDEBUG>)
  endif()
  if(NOT LLVM_ENABLE_RTTI)
    target_compile_options(${name} PRIVATE -fno-rtti)
  endif()
  target_link_libraries(${name} PUBLIC MLIR LLVM)
  # Default visibility: plugins of v4-opt use the classes of the dialect.
  set_target_properties(${name} PROPERTIES BUILD_RPATH "${LLVM_LIBRARY_DIR}" INSTALL_RPATH "${LLVM_LIBRARY_DIR}"
    CXX_VISIBILITY_PRESET default)
endfunction()

function(v4_use_mlir name)
  v4_use_mlir_settings(${name})
  target_precompile_headers(${name} REUSE_FROM V4Pch)
endfunction()

# A tool that links MLIR. Executables are compiled as PIE and cannot share the libraries' precompiled header.
function(v4_compiler_tool name)
  add_executable(${name} ${ARGN})
  v4_use_mlir_settings(${name})
  if(V4_SANITIZE MATCHES "address")
    target_sources(${name} PRIVATE ${PROJECT_SOURCE_DIR}/cmake/AsanOptions.cpp)
  endif()
endfunction()
