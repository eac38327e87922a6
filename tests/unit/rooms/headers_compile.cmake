# Every header compiles alone: one source a header, made here, in an object library that nobody links.
file(GLOB_RECURSE header_paths CONFIGURE_DEPENDS RELATIVE ${PROJECT_SOURCE_DIR}
  ${PROJECT_SOURCE_DIR}/supervisor/*.hpp ${PROJECT_SOURCE_DIR}/child_runtime/*.hpp ${PROJECT_SOURCE_DIR}/child_runtime/*.h)
set(header_sources)
foreach(header IN LISTS header_paths)
  string(REPLACE "/" "__" name ${header})
  set(languages cpp)
  if(header MATCHES "\\.h$")
    list(APPEND languages c)
  endif()
  foreach(language IN LISTS languages)
    set(source ${CMAKE_BINARY_DIR}/headers_compile/${name}.${language})
    # Twice: it has to stand being included again, too.
    file(CONFIGURE OUTPUT ${source} CONTENT "#include \"${header}\"\n#include \"${header}\"\n")
    list(APPEND header_sources ${source})
  endforeach()
endforeach()
add_library(headers_compile OBJECT ${header_sources})
target_include_directories(headers_compile PRIVATE ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/supervisor)
target_compile_options(headers_compile PRIVATE -O0 -g0)
target_link_libraries(headers_compile PRIVATE runmain_options runmain_cli runmain_drive runmain_control runmain_config
  runmain_keeper)
