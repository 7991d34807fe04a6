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
    # Threads of the pool run its code until the process ends, in a plugin, too.
    INTERFACE_LINK_OPTIONS "LINKER:-z,nodelete"
    INTERFACE_LINK_LIBRARIES "m;pthread")
endif()
"""


def cmake_version(version: str) -> str:
    """Return ``NAME-config-version.cmake``, for ``find_package(NAME 1.2)`` and ``1.2...<2``.

    A library has the interface of the einloom that built it: one of the same major version, or of
    the same minor one below 1.0, serves who asks for an older one.

    Source: cmake-packages(7), "Package Version File"; as ``write_basic_package_version_file`` with
    ``SameMajorVersion`` and ``SameMinorVersion``.
    """
    major, minor = version.split(".")[:2]
    kept = f"{major}.{minor}" if major == "0" else major
    return f"""\
set(PACKAGE_VERSION "{version}")
set(PACKAGE_VERSION_COMPATIBLE FALSE)
if(PACKAGE_FIND_VERSION_RANGE)
  if(PACKAGE_VERSION VERSION_GREATER_EQUAL PACKAGE_FIND_VERSION_MIN AND
     ((PACKAGE_FIND_VERSION_RANGE_MAX STREQUAL "INCLUDE" AND
       PACKAGE_VERSION VERSION_LESS_EQUAL PACKAGE_FIND_VERSION_MAX) OR
      (PACKAGE_FIND_VERSION_RANGE_MAX STREQUAL "EXCLUDE" AND
       PACKAGE_VERSION VERSION_LESS PACKAGE_FIND_VERSION_MAX)))
    set(PACKAGE_VERSION_COMPATIBLE TRUE)
  endif()
elseif(PACKAGE_VERSION VERSION_GREATER_EQUAL PACKAGE_FIND_VERSION AND
       "${{PACKAGE_FIND_VERSION}}." MATCHES "^{kept.replace(".", "[.]")}[.]")
  set(PACKAGE_VERSION_COMPATIBLE TRUE)
endif()
if(PACKAGE_VERSION VERSION_EQUAL PACKAGE_FIND_VERSION)
  set(PACKAGE_VERSION_EXACT TRUE)
endif()
if(NOT CMAKE_SIZEOF_VOID_P STREQUAL "" AND NOT CMAKE_SIZEOF_VOID_P EQUAL 8)
  set(PACKAGE_VERSION "${{PACKAGE_VERSION}} (64 bits)")
  set(PACKAGE_VERSION_UNSUITABLE TRUE)
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
