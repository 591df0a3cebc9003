# Builds the guide's example as printed, with a copy of the tasklib in its folder, and once more with the installed
# package: cmake -D SOURCE=cpp -D BINARY=... -D GENERATOR=... -P guide.cmake
function(run)
  execute_process(COMMAND ${ARGV} RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "${ARGV}: ${result}\n${output}")
  endif()
endfunction()

# What it is without a governor.
function(check_program program)
  execute_process(COMMAND ${CMAKE_COMMAND} -E env --unset=RAIN_EXECUTOR_DIR ${program}
    RESULT_VARIABLE result ERROR_VARIABLE output)
  if(NOT result EQUAL 2 OR NOT output MATCHES "executor \"example1\" of Rain")
    message(FATAL_ERROR "${program}: ${result}: ${output}")
  endif()
endfunction()

file(REMOVE_RECURSE ${BINARY})
file(COPY ${SOURCE}/tests/guide/ DESTINATION ${BINARY}/myexecutor)
file(COPY ${SOURCE}/tasklib DESTINATION ${BINARY}/myexecutor)
run(${CMAKE_COMMAND} -G ${GENERATOR} -S ${BINARY}/myexecutor -B ${BINARY}/myexecutor/_build)
run(${CMAKE_COMMAND} --build ${BINARY}/myexecutor/_build)
check_program(${BINARY}/myexecutor/_build/myexecutor)

run(${CMAKE_COMMAND} --install ${BINARY}/myexecutor/_build/tasklib --prefix ${BINARY}/prefix)
run(${CMAKE_COMMAND} -G ${GENERATOR} -S ${SOURCE}/tests/installed -B ${BINARY}/installed
  -D CMAKE_PREFIX_PATH=${BINARY}/prefix)
run(${CMAKE_COMMAND} --build ${BINARY}/installed)
check_program(${BINARY}/installed/myexecutor)
