//! A request for the results of many objects: what is to be told of them.

use rain_model::graph::encode_column;
use rain_protocol::client::{RequestError, ResultsReply};
use rain_server::RequestId;
use serde_bytes::ByteBuf;

/// A reply with so many bytes is sent at once.
const REPLY_BYTES: usize = 256 << 10;
/// The number that the machine gets for an object of a group: that of the client's request, and above so many bits the object's, plus one.
const GROUP_BITS: u32 = 64;

/// What the machine calls an object of a group.
pub(super) fn part(group: u64, object: u32) -> RequestId {
    RequestId::from(group) | (RequestId::from(object) + 1) << GROUP_BITS
}

/// What a number stands for that the machine has got for a request: this itself, or an object of a group.
pub(super) fn result_of(request: RequestId) -> Result<u64, (u64, u32)> {
    let id = request as u64;
    match (request >> GROUP_BITS) as u64 {
        0 => Ok(id),
        number => Err((id, (number - 1) as u32)),
    }
}

/// A request for many results that is not answered whole.
#[derive(Default)]
pub(super) struct Group {
    /// Objects of which nothing was heard.
    pub(super) open: usize,
    results: Vec<(u32, ByteBuf)>,
    pub(super) large: Vec<u32>,
    /// Many fail for the same reason, one after the other.
    errors: Vec<(RequestError, Vec<u32>)>,
    bytes: usize,
}

impl Group {
    /// A request for so many objects.
    pub(super) fn of(objects: usize) -> Self {
        Self { open: objects, ..Self::default() }
    }

    /// Whether there is so much to tell that it is to be told at once.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= REPLY_BYTES
    }

    pub(super) fn add_content(&mut self, object: u32, content: Vec<u8>) {
        self.bytes += content.len();
        self.results.push((object, ByteBuf::from(content)));
    }

    pub(super) fn add_error(&mut self, object: u32, error: &RequestError) {
        match self.errors.last_mut() {
            Some((last, objects)) if last == error => objects.push(object),
            _ => {
                self.bytes += error.message.len() + error.debug.as_ref().map_or(0, String::len);
                self.errors.push((error.clone(), vec![object]));
            }
        }
    }

    pub(super) fn take_reply(&mut self) -> ResultsReply {
        self.bytes = 0;
        let errors = std::mem::take(&mut self.errors).into_iter();
        ResultsReply {
            results: std::mem::take(&mut self.results),
            large: encode_column(&std::mem::take(&mut self.large)),
            errors: errors.map(|(error, objects)| (ByteBuf::from(encode_column(&objects)), error)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rain_model::graph::decode_column;

    #[test]
    fn numbers_tell_requests_from_objects_of_groups() {
        for group in [0, 1, u64::MAX] {
            assert_eq!(result_of(group.into()), Ok(group));
            for object in [0, 1, u32::MAX] {
                assert_eq!(result_of(part(group, object)), Err((group, object)));
            }
        }
    }

    #[test]
    fn what_fails_for_the_same_reason_is_told_once() {
        let mut group = Group::default();
        let (one, other) = (RequestError::request("one"), RequestError::request("other"));
        for (object, error) in [(1, &one), (2, &one), (3, &other), (4, &one)] {
            group.add_error(object, error);
        }
        group.add_content(5, vec![7; 3]);
        group.large.push(6);
        assert_eq!(group.bytes, 14);
        let reply = group.take_reply();
        let errors: Vec<_> =
            reply.errors.iter().map(|(objects, error)| (decode_column::<Vec<u32>>(objects).unwrap(), error)).collect();
        assert_eq!(errors, [(vec![1, 2], &one), (vec![3], &other), (vec![4], &one)]);
        assert_eq!(reply.results, [(5, ByteBuf::from(vec![7; 3]))]);
        assert_eq!(decode_column::<Vec<u32>>(&reply.large).unwrap(), [6]);
        let rest = group.take_reply();
        assert!(group.bytes == 0 && rest.results.is_empty() && rest.large.is_empty() && rest.errors.is_empty());
    }
}
