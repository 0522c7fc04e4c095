/** Makes a photograph small enough for a thin line, on the device: what a camera makes is ten times what a screen shows. */

interface Size {
  /** Pixels of the longer side. */
  sideMax: number;
  quality: number;
  /** Below this an image is sent as it is, in bytes. */
  small: number;
}

/** Enough to see a rash by. */
const USUAL: Size = { sideMax: 2_048, quality: 0.85, small: 400_000 };
/** On a line that carries no picture: a minute of one with 24 kbit/s. */
const WEAK: Size = { sideMax: 1_024, quality: 0.7, small: 150_000 };

/** The image, smaller where that can be done here, and much so for a weak line; where it cannot, as it is. */
export async function shrunk(image: Blob, isWeak: boolean): Promise<Blob> {
  const { sideMax, quality, small } = isWeak ? WEAK : USUAL;
  if (image.size <= small) return image;
  try {
    const bitmap = await createImageBitmap(image, { imageOrientation: 'from-image' });
    const scale = Math.min(1, sideMax / Math.max(bitmap.width, bitmap.height));
    const canvas = document.createElement('canvas');
    canvas.width = Math.max(1, Math.round(bitmap.width * scale));
    canvas.height = Math.max(1, Math.round(bitmap.height * scale));
    canvas.getContext('2d')?.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    bitmap.close();
    const smaller = await new Promise<Blob | null>((resolve) => canvas.toBlob(resolve, 'image/jpeg', quality));
    return smaller && smaller.size < image.size ? smaller : image;
  } catch {
    // The server says what it does not take.
    return image;
  }
}
