import { Module } from '@nestjs/common';
import { CentralModule } from '../central/central.module.js';
import { Downloads } from './downloads.js';

@Module({ imports: [CentralModule], providers: [Downloads], exports: [Downloads] })
export class DownloadModule {}
