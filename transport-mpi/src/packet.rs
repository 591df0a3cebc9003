//! Packets: how messages' heads travel. Between two ranks there is one stream of frames in each direction, cut into packets.

/// A packet is at most so long, with its header.
pub(crate) const PACKET_BYTES: usize = 64 << 10;
pub(crate) const HEADER_BYTES: usize = 5;
const FRAME_HEADER_BYTES: usize = 4;
/// The number of the lane is in the highest bit of a frame's length.
const LANE_BIT: u32 = 1 << 31;

/// What a packet brings.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Packet<'a> {
    /// The next bytes of the stream.
    Stream(&'a [u8]),
    /// Nothing more will come. `whole`: all that was sent before has come, or will.
    Bye { whole: bool, why: String },
}

const STREAM: u8 = 0;
const BYE_WHOLE: u8 = 1;
const BYE_BROKEN: u8 = 2;

/// Begins a packet of the stream, to which bytes may be appended; `credit` is how many bytes of the other direction's
/// stream were used.
pub(crate) fn begin_stream(packet: &mut Vec<u8>, credit: u32) {
    packet.clear();
    packet.push(STREAM);
    packet.extend_from_slice(&credit.to_le_bytes());
}

/// Writes the last packet.
pub(crate) fn write_bye(packet: &mut Vec<u8>, credit: u32, whole: bool, why: &str) {
    packet.clear();
    packet.push(if whole { BYE_WHOLE } else { BYE_BROKEN });
    packet.extend_from_slice(&credit.to_le_bytes());
    let why = why.as_bytes();
    packet.extend_from_slice(&why[..why.len().min(1000)]);
}

/// The credit that comes with a packet, and what the packet brings; none if it is no packet.
pub(crate) fn read_packet(packet: &[u8]) -> Option<(u32, Packet<'_>)> {
    let (header, body) = packet.split_at_checked(HEADER_BYTES)?;
    let credit = u32::from_le_bytes(header[1..].try_into().ok()?);
    let brings = match header[0] {
        STREAM => Packet::Stream(body),
        kind @ (BYE_WHOLE | BYE_BROKEN) => {
            Packet::Bye { whole: kind == BYE_WHOLE, why: String::from_utf8_lossy(body).into_owned() }
        }
        _ => return None,
    };
    Some((credit, brings))
}

/// Appends a frame with a message's head to a stream.
///
/// # Errors
/// When the head is longer than a frame can say.
pub(crate) fn append_frame(lane: usize, head: &[u8], stream: &mut Vec<u8>) -> Result<(), String> {
    let length = u32::try_from(head.len()).ok().filter(|length| length & LANE_BIT == 0);
    let length = length.ok_or_else(|| format!("a message of {} bytes is too long", head.len()))?;
    let lane_bit = if lane == 0 { 0 } else { LANE_BIT };
    stream.extend_from_slice(&(length | lane_bit).to_le_bytes());
    stream.extend_from_slice(head);
    Ok(())
}

/// Finds frames in a stream that comes in packets.
#[derive(Default)]
pub(crate) struct FrameReader {
    /// The beginning of a frame that has not come whole.
    begun: Vec<u8>,
}

fn frame_length(bytes: &[u8]) -> Option<(usize, usize)> {
    let header: [u8; FRAME_HEADER_BYTES] = bytes.get(..FRAME_HEADER_BYTES)?.try_into().ok()?;
    let word = u32::from_le_bytes(header);
    Some((usize::from(word & LANE_BIT != 0), FRAME_HEADER_BYTES + (word & !LANE_BIT) as usize))
}

impl FrameReader {
    /// Takes the next bytes of the stream, and gives the lane and the head of each message that is whole to `each`.
    ///
    /// # Errors
    /// Those of `each`.
    pub(crate) fn read<E>(
        &mut self,
        mut bytes: &[u8],
        mut each: impl FnMut(usize, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        while !self.begun.is_empty() {
            let known = frame_length(&self.begun);
            let missing = known.map_or(FRAME_HEADER_BYTES, |(_, length)| length) - self.begun.len();
            let (now, later) = bytes.split_at(missing.min(bytes.len()));
            self.begun.extend_from_slice(now);
            bytes = later;
            if now.len() < missing {
                return Ok(());
            }
            // A header that has just become whole may say that nothing is missing.
            if let Some((lane, length)) = frame_length(&self.begun)
                && length == self.begun.len()
            {
                each(lane, &self.begun[FRAME_HEADER_BYTES..])?;
                self.begun.clear();
            }
        }
        while let Some((lane, length)) = frame_length(bytes) {
            let Some((frame, later)) = bytes.split_at_checked(length) else { break };
            each(lane, &frame[FRAME_HEADER_BYTES..])?;
            bytes = later;
        }
        self.begun.extend_from_slice(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_as_they_went_in_however_the_stream_is_cut() {
        let heads: Vec<(usize, Vec<u8>)> =
            (0..200usize).map(|n| (n % 2, vec![n as u8; (n * 37) % 300 * (n % 3)])).collect();
        let mut stream = Vec::new();
        for (lane, head) in &heads {
            append_frame(*lane, head, &mut stream).unwrap();
        }
        for cut in [1, 2, 3, 5, 7, 64, 1000, stream.len()] {
            let mut reader = FrameReader::default();
            let mut found = Vec::new();
            for bytes in stream.chunks(cut) {
                let read: Result<(), ()> = reader.read(bytes, |lane, head| {
                    found.push((lane, head.to_vec()));
                    Ok(())
                });
                read.unwrap();
            }
            assert_eq!(found, heads, "cut every {cut} bytes");
        }
    }

    #[test]
    fn packets_are_read_as_written() {
        let mut packet = vec![9; 3];
        begin_stream(&mut packet, 70_000);
        packet.extend_from_slice(b"abc");
        assert_eq!(read_packet(&packet), Some((70_000, Packet::Stream(b"abc"))));
        write_bye(&mut packet, 1, true, "it has ended");
        assert_eq!(read_packet(&packet), Some((1, Packet::Bye { whole: true, why: "it has ended".to_owned() })));
        write_bye(&mut packet, 0, false, "x");
        assert_eq!(read_packet(&packet), Some((0, Packet::Bye { whole: false, why: "x".to_owned() })));
        assert_eq!(read_packet(&[9, 0, 0, 0, 0]), None);
        assert_eq!(read_packet(&[0, 0, 0]), None);
    }
}
