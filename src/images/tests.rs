//! Files made by hand, with secrets in all the places where cameras and programs put them.

use crc32fast::hash;
use proptest::prelude::*;

use super::{IMAGE_BYTES_MAX, Image, ImageError, MediaType, Size};

/// Stands for a place, a name, a comment: must be in nothing that is written out.
const SECRET: &[u8] = b"52.5200N 13.4050E Zebulon Quixworthy";

fn take(file: &[u8]) -> Image {
    let image = Image::take(file).unwrap();
    assert!(!holds(&image.bytes, SECRET), "something of it is left");
    assert_eq!(Image::take(&image.bytes).unwrap(), image, "what was stripped stays as it is");
    image
}

fn refused(file: &[u8]) -> ImageError {
    Image::take(file).unwrap_err()
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fn with_secret(start: &[u8]) -> Vec<u8> {
    [start, SECRET].concat()
}

// --- JPEG --------------------------------------------------------------------------------------------------------

fn segment(marker: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len() + 2).unwrap().to_be_bytes();
    [&[0xff, marker], &length[..], body].concat()
}

fn frame(width: u16, height: u16) -> Vec<u8> {
    let body = [&[8], &height.to_be_bytes()[..], &width.to_be_bytes(), &[1, 1, 0x11, 0]].concat();
    segment(0xc0, &body)
}

/// A scan with a stuffed byte, a restart and fill bytes in it.
fn scan() -> Vec<u8> {
    let header = segment(0xda, &[1, 1, 0, 0, 63, 0]);
    [&header[..], &[1, 2, 0xff, 0, 3, 0xff, 0xd0, 4, 0xff, 0xff]].concat()
}

fn jpeg(before: &[Vec<u8>]) -> Vec<u8> {
    let mut file = vec![0xff, 0xd8];
    file.extend(before.concat());
    file.extend(segment(0xdb, &[0; 65]));
    file.extend(frame(640, 480));
    file.extend(segment(0xc4, &[0; 17]));
    file.extend(scan());
    file.extend([0xff, 0xd9]);
    file
}

/// Exif of either byte order, with a place behind the orientation.
fn exif(big: bool, orientation: u16) -> Vec<u8> {
    let short = |value: u16| if big { value.to_be_bytes() } else { value.to_le_bytes() };
    let long = |value: u32| if big { value.to_be_bytes() } else { value.to_le_bytes() };
    let mut tiff = if big { b"MM\0\x2a".to_vec() } else { b"II\x2a\0".to_vec() };
    tiff.extend(long(8));
    tiff.extend(short(2));
    for (tag, kind, count, value) in [(0x010e_u16, 2_u16, 36_u32, 38_u32), (0x0112, 3, 1, 0)] {
        tiff.extend(short(tag));
        tiff.extend(short(kind));
        tiff.extend(long(count));
        if tag == 0x0112 {
            tiff.extend(short(orientation));
            tiff.extend([0; 2]);
        } else {
            tiff.extend(long(value));
        }
    }
    tiff.extend(long(0));
    tiff.extend(SECRET);
    segment(0xe1, &[b"Exif\0\0", &tiff[..]].concat())
}

#[test]
fn a_jpeg_loses_all_that_does_not_show_the_picture() {
    let plain = jpeg(&[]);
    let spoken = jpeg(&[
        segment(0xe1, &with_secret(b"http://ns.adobe.com/xap/1.0/\0")),
        segment(0xe2, &with_secret(b"MPF\0")),
        segment(0xed, &with_secret(b"Photoshop 3.0\0")),
        segment(0xfe, SECRET),
        segment(0xe4, SECRET),
        segment(0xe0, &with_secret(b"JFXX\0")),
        exif(true, 1),
    ]);
    assert!(holds(&spoken, SECRET));
    let image = take(&[&spoken[..], SECRET].concat());
    assert_eq!(image, take(&plain), "the same picture has the same name");
    assert_eq!((image.media_type, image.size), (MediaType::Jpeg, Size { width: 640, height: 480 }));
    let fill = plain.len() - 4;
    let expected = [&plain[..fill], &[0xff, 0xd9]].concat();
    assert_eq!(image.bytes, expected, "tables, frame and scan as they were, without the fill bytes");
}

#[test]
fn a_jpeg_keeps_its_colours_and_the_head_of_jfif() {
    let jfif = [b"JFIF\0\x01\x02\0\0\x01\0\x01\x02\x02", SECRET].concat();
    let icc = segment(0xe2, b"ICC_PROFILE\0\x01\x01profile");
    let adobe = b"Adobe\0\x64\0\0\0\0\x01";
    let file = jpeg(&[segment(0xe0, &jfif), icc.clone(), segment(0xee, &with_secret(adobe))]);
    let image = take(&file);
    assert!(
        holds(&image.bytes, &segment(0xe0, b"JFIF\0\x01\x02\0\0\x01\0\x01\0\0")),
        "without the thumbnail"
    );
    assert!(holds(&image.bytes, &icc));
    assert!(holds(&image.bytes, &segment(0xee, adobe)));
}

#[test]
fn a_jpeg_keeps_its_orientation_alone() {
    for big in [true, false] {
        for orientation in 2..=8 {
            let image = take(&jpeg(&[exif(big, orientation), exif(big, 3)]));
            let expected = [
                &b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01"[..],
                &orientation.to_be_bytes(),
                &[0; 6],
            ];
            assert!(holds(&image.bytes, &segment(0xe1, &expected.concat())));
            assert_eq!(image.bytes.windows(4).filter(|window| window == b"Exif").count(), 1);
        }
        for nonsense in [0, 9, 0x300] {
            assert_eq!(take(&jpeg(&[exif(big, nonsense)])), take(&jpeg(&[])));
        }
    }
    let mut pointing_out = exif(true, 6);
    pointing_out[4 + 6 + 7] = 0xff;
    assert_eq!(take(&jpeg(&[pointing_out])), take(&jpeg(&[])));
}

#[test]
fn a_progressive_jpeg_has_several_scans() {
    let mut file = vec![0xff, 0xd8];
    let mut progressive = frame(16, 8);
    progressive[1] = 0xc2;
    file.extend(progressive);
    for _ in 0..3 {
        file.extend(segment(0xc4, &[0; 17]));
        file.extend(scan());
    }
    file.extend([0xff, 0xd9]);
    assert_eq!(take(&file).size, Size { width: 16, height: 8 });
}

#[test]
fn a_jpeg_of_the_wrong_form_is_refused_with_the_reason() {
    let whole = jpeg(&[]);
    for end in 3..whole.len() {
        assert_eq!(refused(&whole[..end]), ImageError::Truncated { kind: "JPEG" }, "cut at {end}");
    }
    let damaged = |file: &[u8]| assert!(matches!(refused(file), ImageError::Damaged { kind: "JPEG", .. }));
    damaged(&[0xff, 0xd8, 0xff, 0xd9]);
    damaged(&[&[0xff, 0xd8], &frame(1, 1)[..], &[0xff, 0xd9]].concat());
    damaged(&[&[0xff, 0xd8], &scan()[..], &[0xff, 0xd9]].concat());
    damaged(&[&[0xff, 0xd8], &frame(1, 1)[..], &frame(1, 1), &scan(), &[0xff, 0xd9]].concat());
    damaged(&[&[0xff, 0xd8], &segment(0xdb, &[0; 65])[..], &[7]].concat());
    damaged(&[0xff, 0xd8, 0xff, 0xdb, 0, 1]);
    let arithmetic = [&[0xff, 0xd8], &segment(0xc9, &[0; 9])[..]].concat();
    assert!(matches!(refused(&arithmetic), ImageError::Unsupported { kind: "JPEG", .. }));
}

// --- PNG ---------------------------------------------------------------------------------------------------------

fn chunk(name: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let checksum = hash(&[name, body].concat()).to_be_bytes();
    [&length[..], name, body, &checksum].concat()
}

fn header(width: u32, height: u32) -> Vec<u8> {
    chunk(b"IHDR", &[&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 6, 0, 0, 0]].concat())
}

fn png(chunks: &[Vec<u8>]) -> Vec<u8> {
    [&b"\x89PNG\r\n\x1a\n"[..], &chunks.concat()].concat()
}

#[test]
fn a_png_loses_all_that_does_not_show_the_picture() {
    let (data, end) = (chunk(b"IDAT", &[1, 2, 3]), chunk(b"IEND", &[]));
    let shown = [chunk(b"gAMA", &[0, 0, 0xb1, 0x8f]), chunk(b"iCCP", b"p\0\0x"), chunk(b"pHYs", &[0; 9])];
    let plain = png(&[header(3, 2), shown.concat(), data.clone(), data.clone(), end.clone()]);
    let spoken = png(&[
        header(3, 2),
        chunk(b"tEXt", SECRET),
        shown.concat(),
        chunk(b"eXIf", SECRET),
        chunk(b"acTL", SECRET),
        data.clone(),
        data,
        chunk(b"zTXt", SECRET),
        chunk(b"iTXt", SECRET),
        chunk(b"tIME", SECRET),
        chunk(b"prVt", SECRET),
        chunk(b"fdAT", SECRET),
        end,
        SECRET.to_vec(),
    ]);
    let image = take(&spoken);
    assert_eq!(image.bytes, plain);
    assert_eq!((image.media_type, image.size), (MediaType::Png, Size { width: 3, height: 2 }));
}

#[test]
fn a_png_loses_a_chunk_longer_than_its_name_allows() {
    let (data, end) = (chunk(b"IDAT", &[1, 2, 3]), chunk(b"IEND", &[]));
    let lengths: [(&[u8; 4], usize); 8] = [
        (b"pHYs", 9),
        (b"gAMA", 4),
        (b"sRGB", 1),
        (b"cHRM", 32),
        (b"cICP", 4),
        (b"tRNS", 256),
        (b"bKGD", 6),
        (b"sBIT", 4),
    ];
    for (name, length) in lengths {
        let with = |length| png(&[header(3, 2), chunk(name, &vec![7; length]), data.clone(), end.clone()]);
        assert_eq!(take(&with(length)).bytes, with(length), "{name:?}");
        let plain = png(&[header(3, 2), data.clone(), end.clone()]);
        assert_eq!(take(&with(length + 1)).bytes, plain, "{name:?}");
    }
}

#[test]
fn a_png_of_the_wrong_form_is_refused_with_the_reason() {
    let (data, end) = (chunk(b"IDAT", &[1]), chunk(b"IEND", &[]));
    let whole = png(&[header(3, 2), data.clone(), end.clone()]);
    for cut in 8..whole.len() {
        assert_eq!(refused(&whole[..cut]), ImageError::Truncated { kind: "PNG" }, "cut at {cut}");
    }
    let damaged = |chunks: &[Vec<u8>]| {
        assert!(matches!(refused(&png(chunks)), ImageError::Damaged { kind: "PNG", .. }));
    };
    damaged(&[data.clone(), header(3, 2), end.clone()]);
    damaged(&[header(3, 2), end.clone()]);
    damaged(&[header(3, 2), data.clone(), chunk(b"gAMA", &[0; 4]), data.clone(), end.clone()]);
    damaged(&[chunk(b"IHDR", &[0; 12]), data.clone(), end.clone()]);
    damaged(&[chunk(b"IHDR", &[0, 0, 0, 1, 0, 0, 0, 1, 3, 2, 0, 0, 0]), data.clone(), end.clone()]);
    damaged(&[header(3, 2), data.clone(), chunk(b"IEND", &[0])]);
    let mut wrong = whole;
    wrong[8 + 8 + 3] ^= 1;
    assert!(matches!(refused(&wrong), ImageError::Damaged { kind: "PNG", .. }), "a checksum is looked at");
    let unknown = png(&[header(3, 2), chunk(b"ABCD", &[]), data, end]);
    assert!(matches!(refused(&unknown), ImageError::Unsupported { kind: "PNG", .. }));
}

// --- WebP --------------------------------------------------------------------------------------------------------

fn part(name: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_le_bytes();
    let padding: &[u8] = if body.len() % 2 == 1 { &[0] } else { &[] };
    [&name[..], &length, body, padding].concat()
}

fn webp(parts: &[Vec<u8>]) -> Vec<u8> {
    let body = [b"WEBP", &parts.concat()[..]].concat();
    part(b"RIFF", &body)
}

fn lossy(width: u16, height: u16) -> Vec<u8> {
    let head = [&[0x10, 0, 0, 0x9d, 1, 0x2a], &width.to_le_bytes()[..], &height.to_le_bytes(), &[7]];
    part(b"VP8 ", &head.concat())
}

fn lossless(width: u32, height: u32) -> Vec<u8> {
    let bits = (width - 1) | (height - 1) << 14;
    part(b"VP8L", &[&[0x2f], &bits.to_le_bytes()[..], &[9, 9]].concat())
}

fn extended(flags: u8, width: u32, height: u32) -> Vec<u8> {
    let (width, height) = ((width - 1).to_le_bytes(), (height - 1).to_le_bytes());
    part(b"VP8X", &[&[flags, 0, 0, 0], &width[..3], &height[..3]].concat())
}

#[test]
fn a_webp_loses_all_that_does_not_show_the_picture_and_says_so_in_its_flags() {
    let (icc, alpha) = (part(b"ICCP", b"profile"), part(b"ALPH", &[1, 2, 3]));
    let spoken = webp(&[
        extended(0x3c | 0x81, 320, 200),
        icc.clone(),
        part(b"SCRT", SECRET),
        alpha.clone(),
        lossy(320, 200),
        part(b"EXIF", SECRET),
        part(b"XMP ", SECRET),
    ]);
    let image = take(&[&spoken[..], SECRET].concat());
    assert_eq!(image.bytes, webp(&[extended(0x30, 320, 200), icc, alpha, lossy(320, 200)]));
    assert_eq!((image.media_type, image.size), (MediaType::Webp, Size { width: 320, height: 200 }));
}

#[test]
fn a_simple_webp_is_its_picture_and_nothing_else() {
    for picture in [lossy(5, 9), lossless(5, 9)] {
        let image = take(&webp(&[picture.clone(), part(b"EXIF", SECRET)]));
        assert_eq!((image.size, &image.bytes), (Size { width: 5, height: 9 }, &webp(&[picture])));
    }
    let transparent = webp(&[extended(0x10, 5, 9), lossless(5, 9)]);
    assert_eq!(take(&transparent).bytes, transparent);
}

#[test]
fn a_webp_of_the_wrong_form_is_refused_with_the_reason() {
    let whole = webp(&[extended(0, 5, 9), lossy(5, 9)]);
    for cut in 12..whole.len() {
        assert_eq!(refused(&whole[..cut]), ImageError::Truncated { kind: "WebP" }, "cut at {cut}");
    }
    let damaged = |parts: &[Vec<u8>]| {
        assert!(matches!(refused(&webp(parts)), ImageError::Damaged { kind: "WebP", .. }));
    };
    damaged(&[]);
    damaged(&[extended(0, 5, 9)]);
    damaged(&[extended(0, 5, 9), extended(0, 5, 9), lossy(5, 9)]);
    damaged(&[extended(0, 5, 9), lossy(5, 8)]);
    damaged(&[extended(0, 5, 9), lossy(5, 9), lossless(5, 9)]);
    damaged(&[part(b"VP8 ", &[0x11, 0, 0, 0x9d, 1, 0x2a, 1, 0, 1, 0])]);
    damaged(&[part(b"VP8L", &[0x2e, 0, 0, 0, 0])]);
    assert_eq!(refused(&webp(&[extended(0x02, 5, 9), lossy(5, 9)])), ImageError::Animated);
    assert_eq!(refused(&webp(&[extended(0, 5, 9), part(b"ANMF", &[0; 16])])), ImageError::Animated);
}

// --- all ---------------------------------------------------------------------------------------------------------

#[test]
fn the_bounds_are_read_from_the_file() {
    let sized = |width, height| png(&[header(width, height), chunk(b"IDAT", &[1]), chunk(b"IEND", &[])]);
    take(&sized(16_384, 6_103));
    take(&sized(10_000, 10_000));
    for (width, height) in [(0, 1), (1, 0), (16_385, 1), (1, 16_385), (10_000, 10_001), (u32::MAX, u32::MAX)]
    {
        assert_eq!(refused(&sized(width, height)), ImageError::Dimensions { width, height });
    }
    let mut flat = vec![0xff, 0xd8];
    flat.extend(frame(640, 0));
    assert_eq!(refused(&flat), ImageError::Dimensions { width: 640, height: 0 });
    let mut long = jpeg(&[]);
    long.resize(IMAGE_BYTES_MAX + 1, 0);
    assert_eq!(refused(&long), ImageError::TooLong);
    long.pop();
    take(&long);
}

#[test]
fn what_is_no_image_is_named_as_what_it_is() {
    for brand in [b"heic", b"mif1", b"avif"] {
        assert_eq!(refused(&[b"\0\0\0\x18ftyp", &brand[..], b"\0\0\0\0"].concat()), ImageError::Heic);
    }
    for other in [
        &b""[..],
        b"GIF89a",
        b"%PDF-1.7",
        b"<svg xmlns=\"http://www.w3.org/2000/svg\"/>",
        b"RIFF\0\0\0\0WAVE",
    ] {
        assert_eq!(refused(other), ImageError::UnknownKind);
    }
    assert!(refused(b"\0\0\0\x18ftypheic").to_string().contains("send it as JPEG"));
}

#[test]
fn what_is_logged_of_an_image_says_nothing_of_its_content() {
    let text = format!("{:?}", take(&jpeg(&[])));
    assert!(text.contains("Jpeg") && text.len() < 200, "{text}");
}

fn seeds() -> Vec<Vec<u8>> {
    vec![
        jpeg(&[segment(0xe0, b"JFIF\0\x01\x02\0\0\x01\0\x01\0\0"), exif(true, 6), exif(false, 8)]),
        png(&[header(3, 2), chunk(b"tEXt", SECRET), chunk(b"IDAT", &[1]), chunk(b"IEND", &[])]),
        webp(&[
            extended(0x3c, 5, 9),
            part(b"ICCP", b"p"),
            part(b"ALPH", b"a"),
            lossy(5, 9),
            part(b"EXIF", SECRET),
        ]),
        webp(&[lossless(5, 9)]),
    ]
}

proptest! {
    #[test]
    fn no_bytes_are_too_strange(start in 0_usize..4, tail in proptest::collection::vec(any::<u8>(), 0..256)) {
        let starts: [&[u8]; 4] = [b"", &[0xff, 0xd8, 0xff], b"\x89PNG\r\n\x1a\n", b"RIFF\x40\0\0\0WEBP"];
        let _ = Image::take(&[starts[start], &tail].concat());
    }

    #[test]
    fn a_damaged_file_is_taken_for_good_or_refused(
        seed in 0_usize..4,
        flips in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut file = seeds().swap_remove(seed);
        for (at, value) in flips {
            let at = at.index(file.len());
            file[at] = value;
        }
        if let Ok(image) = Image::take(&file) {
            prop_assert_eq!(Image::take(&image.bytes).unwrap(), image);
        }
    }
}
