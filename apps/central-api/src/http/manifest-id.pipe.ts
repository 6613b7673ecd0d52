import { Injectable, type PipeTransform } from '@nestjs/common';
import { ulidSchema, WaypostError } from '@waypost/contracts';

@Injectable()
export class ManifestIdPipe implements PipeTransform<string, string> {
  /** @throws WaypostError MANIFEST_UNKNOWN */
  transform(text: string): string {
    if (ulidSchema.safeParse(text).success) return text;
    throw new WaypostError('MANIFEST_UNKNOWN', { detail: 'This is not the id of a manifest.' });
  }
}
