/* Stands in for NVIDIA's management library: two GPUs. */
#include <stdio.h>

int nvmlInit_v2(void) { return 0; }
int nvmlShutdown(void) { return 0; }

int nvmlDeviceGetCount_v2(unsigned *count) {
    *count = 2;
    return 0;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
    static char devices[2];
    if (index > 1) return 2;
    *device = &devices[index];
    return 0;
}

int nvmlDeviceGetUUID(void *device, char *uuid, unsigned length) {
    void *first;
    nvmlDeviceGetHandleByIndex_v2(0, &first);
    snprintf(uuid, length, "GPU-%c%c", device == first ? 'a' : 'b', device == first ? '1' : '2');
    return 0;
}
