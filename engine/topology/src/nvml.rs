//! NVIDIA's management library, if there is one: loaded when it is asked, so that nobody has to have it.

use libc::{RTLD_NOW, c_char, c_int, c_uint, c_void, dlclose, dlopen, dlsym};
use std::ffi::CStr;

const LIBRARY: &CStr = c"libnvidia-ml.so.1";
const UUID_BYTES_MAX: usize = 96;
/// More than this is no machine but a broken library.
const DEVICES_MAX: c_uint = 1024;
const SUCCESS: c_int = 0;

/// A library that was loaded.
struct Library(*mut c_void);

impl Library {
    fn load() -> Option<Self> {
        // SAFETY: the name is a C string. The library's initialisers run, as in every program that uses GPUs.
        let handle = unsafe { dlopen(LIBRARY.as_ptr(), RTLD_NOW) };
        (!handle.is_null()).then(|| Library(handle))
    }

    /// A function by its name.
    ///
    /// # Safety
    /// `F` is the type of a pointer to the function of this name.
    unsafe fn function<F: Copy>(&self, name: &CStr) -> Option<F> {
        const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
        // SAFETY: the library is loaded, and the name is a C string.
        let symbol = unsafe { dlsym(self.0, name.as_ptr()) };
        // SAFETY: a pointer to a function is as large as that to data here, and the caller says that this is its type.
        (!symbol.is_null()).then(|| unsafe { std::mem::transmute_copy(&symbol) })
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        // SAFETY: it was loaded, and nothing of it is used any more.
        unsafe { dlclose(self.0) };
    }
}

// SAFETY: a type; who calls such a function says why that is right.
type Nothing = unsafe extern "C" fn() -> c_int;
// SAFETY: a type; who calls such a function says why that is right.
type Count = unsafe extern "C" fn(*mut c_uint) -> c_int;
// SAFETY: a type; who calls such a function says why that is right.
type ByIndex = unsafe extern "C" fn(c_uint, *mut *mut c_void) -> c_int;
// SAFETY: a type; who calls such a function says why that is right.
type Uuid = unsafe extern "C" fn(*mut c_void, *mut c_char, c_uint) -> c_int;

/// The names of all GPUs, in the order of their places on the bus; `None` if there is no library, or it does not work.
pub(super) fn uuids() -> Option<Vec<String>> {
    let library = Library::load()?;
    // SAFETY: these are the types of the functions of these names in nvml.h, of which there are no others in `_v2`.
    let (start, stop, count, by_index, uuid) = unsafe {
        (
            library.function::<Nothing>(c"nvmlInit_v2")?,
            library.function::<Nothing>(c"nvmlShutdown")?,
            library.function::<Count>(c"nvmlDeviceGetCount_v2")?,
            library.function::<ByIndex>(c"nvmlDeviceGetHandleByIndex_v2")?,
            library.function::<Uuid>(c"nvmlDeviceGetUUID")?,
        )
    };
    // SAFETY: it takes nothing.
    if unsafe { start() } != SUCCESS {
        return None;
    }
    let mut devices: c_uint = 0;
    // SAFETY: the number is written to while it is borrowed.
    let counted = unsafe { count(&raw mut devices) };
    let one = |index: c_uint| {
        let mut device = std::ptr::null_mut();
        // SAFETY: the handle is written to while it is borrowed.
        if unsafe { by_index(index, &raw mut device) } != SUCCESS {
            return None;
        }
        let mut text: [c_char; UUID_BYTES_MAX] = [0; UUID_BYTES_MAX];
        // SAFETY: the handle is of a device, and so many bytes may be written, the last of which is 0 or was.
        if unsafe { uuid(device, text.as_mut_ptr(), UUID_BYTES_MAX as c_uint - 1) } != SUCCESS {
            return None;
        }
        // SAFETY: it ends with a 0 within the array, as the last byte is never written.
        unsafe { CStr::from_ptr(text.as_ptr()) }.to_str().ok().map(str::to_owned)
    };
    let names = (counted == SUCCESS && devices <= DEVICES_MAX).then(|| (0..devices).filter_map(one).collect());
    // SAFETY: it takes nothing, and comes after the start.
    unsafe { stop() };
    names
}
