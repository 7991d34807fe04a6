"""What lets C projects find a built library: a CMake package file and a pkg-config file."""

from __future__ import annotations


def cmake(name: str) -> str:
    """Return ``NAME-config.cmake``; ``find_package(NAME)`` defines the target ``NAME::NAME``.

    Where there is a static archive, ``NAME::NAME_static`` links that instead.
    """
    return f"""\
# find_package({name} REQUIRED PATHS <this folder> NO_DEFAULT_PATH)
# target_link_libraries(<your target> PRIVATE {name}::{name})
if(NOT TARGET {name}::{name})
  add_library({name}::{name} SHARED IMPORTED)
  set_target_properties({name}::{name} PROPERTIES
    IMPORTED_LOCATION "${{CMAKE_CURRENT_LIST_DIR}}/lib{name}.so"
    INTERFACE_INCLUDE_DIRECTORIES "${{CMAKE_CURRENT_LIST_DIR}}"
    INTERFACE_LINK_LIBRARIES "m;pthread")
endif()
if(NOT TARGET {name}::{name}_static AND EXISTS "${{CMAKE_CURRENT_LIST_DIR}}/lib{name}.a")
  add_library({name}::{name}_static STATIC IMPORTED)
  set_target_properties({name}::{name}_static PROPERTIES
    IMPORTED_LOCATION "${{CMAKE_CURRENT_LIST_DIR}}/lib{name}.a"
    INTERFACE_INCLUDE_DIRECTORIES "${{CMAKE_CURRENT_LIST_DIR}}"
    INTERFACE_LINK_LIBRARIES "m;pthread")
endif()
"""


def pkg_config(name: str, version: str, equation: str) -> str:
    """Return ``NAME.pc``; it refers to the folder that it lies in, spaces in its path escaped."""
    # A hash begins a comment, and a description is one line.
    shown = " ".join(equation.replace("#", " ").split())
    return f"""\
# PKG_CONFIG_PATH=<this folder> pkg-config --cflags --libs {name}
prefix=${{pcfiledir}}

Name: {name}
Description: {shown}, built by einloom
Version: {version}
Cflags: -I${{prefix}}
Libs: -L${{prefix}} -l{name} -Wl,-rpath,${{prefix}}
Libs.private: -lm -lpthread
"""
