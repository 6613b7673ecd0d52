import { type DynamicModule, Global, Module } from '@nestjs/common';
import { IdentityFiles } from './identity-files.js';
import { IDENTITY_OPTIONS, type IdentityOptions } from './identity-options.js';

/** Who this device is. */
@Global()
@Module({
  providers: [
    { provide: IdentityFiles, useFactory: ({ folder }: IdentityOptions) => new IdentityFiles(folder), inject: [IDENTITY_OPTIONS] },
  ],
  exports: [IdentityFiles, IDENTITY_OPTIONS],
})
export class IdentityModule {
  static forRoot(options: IdentityOptions): DynamicModule {
    return { module: IdentityModule, providers: [{ provide: IDENTITY_OPTIONS, useValue: options }] };
  }
}
