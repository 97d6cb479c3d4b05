//! Counts the frames of a client in its bytes as they come (RFC 6455, 5.2): the library that reads them puts fragments
//! together by itself and tells of whole messages alone. What no frame can be is left to it.

/// How many frames have begun.
#[derive(Debug, Default)]
pub struct FrameCount {
    frames: u64,
    /// Of the present frame, as far as it came: two bytes, then a longer length, then a mask.
    head: Vec<u8>,
    /// Bytes of its payload that are still to come.
    payload: u64,
}

impl FrameCount {
    /// Frames whose head has come.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Takes in what came next.
    pub fn take(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            if self.payload > 0 {
                let within = usize::try_from(self.payload)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                self.payload -= within as u64;
                bytes = bytes.get(within..).unwrap_or_default();
                continue;
            }
            self.head.push(*first);
            bytes = rest;
            if let Some(payload) = payload_of(&self.head) {
                self.frames += 1;
                self.payload = payload;
                self.head.clear();
            }
        }
    }
}

/// The length of a frame's payload, once its head is whole.
fn payload_of(head: &[u8]) -> Option<u64> {
    let short = *head.get(1)?;
    let more = match short & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let mask = if short & 0x80 == 0 { 0 } else { 4 };
    if head.len() < 2 + more + mask {
        return None;
    }
    let length = head.get(2..2 + more)?;
    let long = length.iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte));
    Some(if more == 0 { u64::from(short & 0x7f) } else { long })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(length: usize, is_masked: bool) -> Vec<u8> {
        let mask = if is_masked { 0x80 } else { 0 };
        let mut bytes = vec![0x81];
        match length {
            0..126 => bytes.push(mask | length as u8),
            126..65_536 => {
                bytes.push(mask | 126);
                bytes.extend((length as u16).to_be_bytes());
            }
            _ => {
                bytes.push(mask | 127);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        bytes.extend(if is_masked { &[0xff; 4][..] } else { &[] });
        bytes.resize(bytes.len() + length, 0x81);
        bytes
    }

    #[test]
    fn frames_of_every_length_are_counted_however_they_are_cut() {
        let lengths = [0, 1, 125, 126, 127, 65_535, 65_536, 0, 300];
        for is_masked in [true, false] {
            let bytes: Vec<u8> = lengths
                .iter()
                .flat_map(|length| frame(*length, is_masked))
                .collect();
            for size in [1, 2, 3, 7, 1_024, bytes.len()] {
                let mut count = FrameCount::default();
                for piece in bytes.chunks(size) {
                    count.take(piece);
                }
                assert_eq!(count.frames(), lengths.len() as u64, "{is_masked} {size}");
                assert_eq!((count.payload, count.head.len()), (0, 0));
            }
        }
    }

    #[test]
    fn a_length_beyond_anything_holds_nothing() {
        let mut count = FrameCount::default();
        count.take(&[
            0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4,
        ]);
        count.take(&[0; 4_096]);
        assert_eq!((count.frames(), count.head.len()), (1, 0));
        assert_eq!(count.payload, u64::MAX - 4_096);
    }
}
