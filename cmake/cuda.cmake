# The kernels for GPUs, as part of symgnn_kernels. Their sources need no headers of torch.

set(wanted "${SYMGNN_CUDA}")
if(wanted STREQUAL "AUTO")
  set(wanted OFF)
  if(EXISTS "${SYMGNN_TORCH}/lib/libtorch_cuda.so")
    include(CheckLanguage)
    check_language(CUDA)
    if(CMAKE_CUDA_COMPILER)
      set(wanted ON)
    else()
      message(STATUS "no nvcc: models on a GPU will use torch's own operations")
    endif()
  endif()
endif()
if(NOT wanted)
  return()
endif()

if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  # The last one also as what drivers translate for newer GPUs.
  set(CMAKE_CUDA_ARCHITECTURES 75-real 80-real 90)
endif()
enable_language(CUDA)
find_package(CUDAToolkit REQUIRED)
message(STATUS "kernels for GPUs: CUDA ${CMAKE_CUDA_COMPILER_VERSION}")

add_library(symgnn_kernels_cuda OBJECT
  cpp/kernels/drag_energies_cuda.cu
  cpp/kernels/edge_attention_cuda.cu
  cpp/kernels/edge_embedding_cuda.cu)
target_compile_features(symgnn_kernels_cuda PRIVATE cuda_std_17)
set_target_properties(symgnn_kernels_cuda PROPERTIES
  POSITION_INDEPENDENT_CODE ON
  CUDA_VISIBILITY_PRESET hidden
  VISIBILITY_INLINES_HIDDEN ON)
target_sources(symgnn_kernels PRIVATE
  cpp/kernels/cuda_operators.cpp
  $<TARGET_OBJECTS:symgnn_kernels_cuda>)
target_compile_definitions(symgnn_kernels PUBLIC SYMGNN_CUDA)

# CUDA's runtime is linked statically, although torch brings a shared one: that one has the major
# version of torch's CUDA, which need not be nvcc's, and lies in a package of its own, where `lmp`,
# which imports no torch, would have to find it. Both work on the same device contexts and streams,
# which belong to the driver. The static one asks for the driver only when it is first used, so that
# the same files load on machines without a GPU.
target_link_libraries(symgnn_kernels PUBLIC CUDA::cudart_static)
