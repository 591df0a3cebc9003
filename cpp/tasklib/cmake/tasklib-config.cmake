include("${CMAKE_CURRENT_LIST_DIR}/tasklib-targets.cmake")
