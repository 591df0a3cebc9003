# Builds the guide's example in the three ways that users have: as printed, with a copy of the tasklib in its folder; with the
# installed package; with FetchContent. SANITIZE is ON or OFF:
# cmake -D SOURCE=cpp -D BINARY=... -D GENERATOR=... -D SANITIZE=... -P guide.cmake
function(run)
  execute_process(COMMAND ${ARGV} RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "${ARGV}: ${result}\n${output}")
  endif()
endfunction()

function(configure source binary)
  run(${CMAKE_COMMAND} -G ${GENERATOR} -S ${source} -B ${binary} -D TASKLIB_SANITIZE=${SANITIZE} ${ARGN})
endfunction()

# What it is without a governor.
function(check_program program)
  execute_process(COMMAND ${CMAKE_COMMAND} -E env --unset=RAIN_EXECUTOR_DIR ${program}
    RESULT_VARIABLE result ERROR_VARIABLE output)
  if(NOT result EQUAL 2 OR NOT output MATCHES "executor \"example1\" of Rain")
    message(FATAL_ERROR "${program}: ${result}: ${output}")
  endif()
endfunction()

# Installs what was built in `binary`; `wanted` is whether that installs the tasklib.
function(check_installed binary wanted)
  run(${CMAKE_COMMAND} --install ${binary} --prefix ${BINARY}/prefix)
  file(GLOB_RECURSE installed ${BINARY}/prefix/*)
  if(wanted AND NOT installed OR installed AND NOT wanted)
    message(FATAL_ERROR "installing ${binary} left: ${installed}")
  endif()
endfunction()

file(REMOVE_RECURSE ${BINARY})
file(COPY ${SOURCE}/tests/guide/ DESTINATION ${BINARY}/myexecutor)
file(COPY ${SOURCE}/tasklib DESTINATION ${BINARY}/myexecutor)
# The example is of a time when CMake 3.1 was asked for; CMake 4 wants to be told that this is all right.
set(guide ${BINARY}/myexecutor/_build)
configure(${BINARY}/myexecutor ${guide} -D CMAKE_POLICY_VERSION_MINIMUM=3.5)
run(${CMAKE_COMMAND} --build ${guide})
check_program(${guide}/myexecutor)
check_installed(${guide} FALSE)

# The tasklib that is built already is installed, as that is what takes time. As a project of its own it installs itself.
configure(${BINARY}/myexecutor ${guide} -D TASKLIB_INSTALL=ON)
check_installed(${guide} TRUE)
configure(${SOURCE}/tasklib ${BINARY}/tasklib)
file(STRINGS ${BINARY}/tasklib/CMakeCache.txt installs REGEX "^TASKLIB_INSTALL:BOOL=ON$")
if(NOT installs)
  message(FATAL_ERROR "the tasklib alone does not install itself")
endif()
configure(${SOURCE}/tests/installed ${BINARY}/installed -D CMAKE_PREFIX_PATH=${BINARY}/prefix)
run(${CMAKE_COMMAND} --build ${BINARY}/installed)
check_program(${BINARY}/installed/myexecutor)
execute_process(COMMAND ${CMAKE_COMMAND} -G ${GENERATOR} -S ${SOURCE}/tests/installed -B ${BINARY}/components
  -D CMAKE_PREFIX_PATH=${BINARY}/prefix -D COMPONENTS=other RESULT_VARIABLE result ERROR_VARIABLE output)
if(result EQUAL 0 OR NOT output MATCHES "tasklib_FOUND to FALSE")
  message(FATAL_ERROR "a component that there is not was found: ${output}")
endif()

if(NOT CMAKE_VERSION VERSION_LESS 3.18)
  configure(${SOURCE}/tests/fetched ${BINARY}/fetched -D FETCHCONTENT_SOURCE_DIR_RAIN=${SOURCE}/..)
  file(REMOVE_RECURSE ${BINARY}/prefix)
  check_installed(${BINARY}/fetched FALSE)
endif()
