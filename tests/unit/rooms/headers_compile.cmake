# Every header compiles alone: one source a header, made here, in an object library that nobody links. A .cpp that
# includes its own header before all others is such a source already.
file(GLOB_RECURSE header_paths CONFIGURE_DEPENDS RELATIVE ${PROJECT_SOURCE_DIR}
  ${PROJECT_SOURCE_DIR}/supervisor/*.hpp ${PROJECT_SOURCE_DIR}/child_runtime/*.hpp ${PROJECT_SOURCE_DIR}/child_runtime/*.h)
# Twice: it has to stand being included again, too.
function(add_header_source list header language)
  string(REPLACE "/" "__" name ${header})
  set(source ${CMAKE_BINARY_DIR}/headers_compile/${name}.${language})
  file(CONFIGURE OUTPUT ${source} CONTENT "#include \"${header}\"\n#include \"${header}\"\n")
  set(${list} ${${list}} ${source} PARENT_SCOPE)
endfunction()

function(has_own_source result header)
  string(REGEX REPLACE "\\.hpp$" ".cpp" source ${PROJECT_SOURCE_DIR}/${header})
  set(${result} FALSE PARENT_SCOPE)
  if(header MATCHES "\\.hpp$" AND EXISTS ${source})
    file(STRINGS ${source} first LIMIT_COUNT 1 REGEX "^#include ")
    string(REGEX REPLACE "^#include \"(.*)\"$" "\\1" first "${first}")
    get_filename_component(name ${header} NAME)
    string(REGEX REPLACE "^supervisor/" "" path ${header})
    if(first STREQUAL name OR first STREQUAL path)
      set(${result} TRUE PARENT_SCOPE)
    endif()
  endif()
endfunction()

# Needs a package that need not be there; its own test includes it.
list(REMOVE_ITEM header_paths child_runtime/opentelemetry.hpp)
set(cpp_headers)
set(c_headers)
foreach(header IN LISTS header_paths)
  has_own_source(covered ${header})
  if(NOT covered)
    add_header_source(cpp_headers ${header} cpp)
  endif()
  if(header MATCHES "\\.h$")
    add_header_source(c_headers ${header} c)
  endif()
endforeach()
add_library(headers_compile OBJECT ${cpp_headers})
target_link_libraries(headers_compile PRIVATE runmain_options runmain_cli runmain_drive runmain_control runmain_config
  runmain_keeper runmain_telemetry)
add_library(headers_compile_c OBJECT ${c_headers})
target_compile_options(headers_compile_c PRIVATE -Wall -Wextra -Werror)
foreach(target headers_compile headers_compile_c)
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/supervisor)
  target_compile_options(${target} PRIVATE -O0 -g0 -fno-sanitize=all)  # nobody runs them
endforeach()
