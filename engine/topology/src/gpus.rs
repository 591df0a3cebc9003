//! The GPUs that this process may use.

use super::nvml;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;

/// The labels of the GPUs that this process may use, as `CUDA_VISIBLE_DEVICES` and `ROCR_VISIBLE_DEVICES` name them: those that these variables
/// say, or numbers from 0. NVIDIA's library tells which there are; where there is none, what the driver shows of itself.
pub fn gpus() -> Vec<String> {
    let uuids = nvml::uuids();
    find(Path::new("/"), uuids.as_deref(), &|name| std::env::var_os(name))
}

/// The labels of GPUs, where `/dev`, `/proc` and `/sys` are below the directory `root`.
fn find(root: &Path, uuids: Option<&[String]>, variable: &dyn Fn(&str) -> Option<OsString>) -> Vec<String> {
    let nvidia = uuids.map_or_else(|| nvidia_devices(root), <[String]>::len);
    let (count, uuids, name) = match nvidia {
        0 => (amd_devices(root), None, "ROCR_VISIBLE_DEVICES"),
        count => (count, uuids, "CUDA_VISIBLE_DEVICES"),
    };
    match variable(name) {
        _ if count == 0 => Vec::new(),
        None => (0..count).map(|number| number.to_string()).collect(),
        Some(visible) => visible_ones(&visible.to_string_lossy(), count, uuids),
    }
}

/// What such a variable names: up to the first that there is not, or that was named before, as CUDA does it.
fn visible_ones(visible: &str, count: usize, uuids: Option<&[String]>) -> Vec<String> {
    let is_there = |label: &&str| match label.parse::<usize>() {
        Ok(number) => number < count,
        // A part of a GPU has a name of its own, which is not listed among the whole ones.
        Err(_) if label.starts_with("MIG-") => true,
        Err(_) if label.starts_with("GPU-") => {
            uuids.is_none_or(|uuids| uuids.iter().any(|uuid| uuid.starts_with(*label)))
        }
        Err(_) => false,
    };
    let mut known = BTreeSet::new();
    let labels = visible.split(',').map(str::trim).take_while(is_there).take_while(|label| known.insert(*label));
    labels.map(str::to_owned).collect()
}

/// GPUs that NVIDIA's driver shows.
fn nvidia_devices(root: &Path) -> usize {
    let is_device = |name: &str| {
        let number = name.strip_prefix("nvidia").unwrap_or_default();
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    };
    names(&root.join("dev")).iter().filter(|name| is_device(name)).count()
}

/// GPUs that AMD's driver shows: nodes that compute and are not the processor.
fn amd_devices(root: &Path) -> usize {
    let nodes = root.join("sys/class/kfd/kfd/topology/nodes");
    let is_gpu = |name: &&String| {
        let properties = std::fs::read_to_string(nodes.join(name).join("properties")).unwrap_or_default();
        let count = properties.lines().find_map(|line| line.strip_prefix("simd_count ")?.trim().parse::<u64>().ok());
        count.is_some_and(|count| count > 0)
    };
    names(&nodes).iter().filter(is_gpu).count()
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for path in files {
            let (path, text) = path.split_once('=').unwrap_or((path, ""));
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn found(root: &tempfile::TempDir, uuids: Option<&[String]>, variables: &[(&str, &str)]) -> String {
        let variable = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
        find(root.path(), uuids, &variable).join(" ")
    }

    #[test]
    fn gpus_are_found_and_what_is_hidden_is_not() {
        let nothing = tree(&["dev/null"]);
        assert_eq!(found(&nothing, None, &[("CUDA_VISIBLE_DEVICES", "0,1")]), "");
        let nvidia = tree(&["dev/nvidia0", "dev/nvidia1", "dev/nvidia2", "dev/nvidiactl", "dev/nvidia-uvm"]);
        let cuda = |visible| found(&nvidia, None, &[("CUDA_VISIBLE_DEVICES", visible), ("ROCR_VISIBLE_DEVICES", "0")]);
        assert_eq!(found(&nvidia, None, &[]), "0 1 2");
        assert_eq!(
            ["2,0", "", "-1", "1,-1,2", "1,7,2", "1,1", "GPU-12,MIG-3", "some"].map(cuda),
            ["2 0", "", "", "1", "1", "1", "GPU-12 MIG-3", ""]
        );
        let uuids = ["GPU-aa11".to_owned(), "GPU-bb22".to_owned()];
        let told = |visible| found(&nothing, Some(&uuids), &[("CUDA_VISIBLE_DEVICES", visible)]);
        assert_eq!(found(&nvidia, Some(&uuids), &[]), "0 1");
        assert_eq!(["GPU-bb22", "GPU-aa,1", "GPU-cc,1"].map(told), ["GPU-bb22", "GPU-aa 1", ""]);
        let node = "sys/class/kfd/kfd/topology/nodes";
        let amd = tree(&[
            &format!("{node}/0/properties=cpu_cores_count 8\nsimd_count 0\n"),
            &format!("{node}/1/properties=cpu_cores_count 0\nsimd_count 256\n"),
            &format!("{node}/2/properties=simd_count 256\n"),
        ]);
        assert_eq!(found(&amd, None, &[("CUDA_VISIBLE_DEVICES", "")]), "0 1");
        assert_eq!(found(&amd, Some(&[]), &[("ROCR_VISIBLE_DEVICES", "1")]), "1");
    }
}
